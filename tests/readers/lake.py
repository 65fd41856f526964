"""A lake for readers: a stream and a table of all types, each with several versions and both with their hashes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.feeds import Feed, parse_feed
from pipeline.fingerprint import ContentHash
from pipeline.lake.change import Change
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.ducklake import publish_ducklake
from pipeline.lake.iceberg import FOLDER, publish_iceberg
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter

NOW = dt.datetime(2026, 11, 20, 6, tzinfo=dt.UTC)
_DAY_MS = 86_400_000
_START_MS = 20_770 * _DAY_MS
_MOST = Decimal(10**38 - 1).scaleb(-10, Context(prec=38))
_VALUES: dict[str, tuple[pa.DataType, Sequence[Any]]] = {
    "flag": (pa.bool_(), (True, False, None)),
    "small": (pa.int32(), (-(2**31), 0, None, 2**31 - 1)),
    "large": (pa.int64(), (-(2**63), 2**63 - 1, 2**53 + 1, None)),
    "double": (pa.float64(), (0.1, -0.0, math.inf, None, 1e-300)),
    "exact": (pa.decimal128(38, 10), (Decimal("1.0000000001"), _MOST.copy_negate(), None)),
    "text": (pa.string(), ("", "Zoé\t\n'\"\\", None, "日本")),
    "bytes": (pa.binary(), (b"", b"\x00\xff", None)),
    "day": (pa.date32(), (dt.date(1970, 1, 1), dt.date(2026, 11, 29), None)),
    "moment": (pa.timestamp("us", tz="UTC"), (NOW, dt.datetime(1969, 7, 20, 20, 17, 40, 123000, dt.UTC), None)),
    "nested": (
        pa.struct([("a", pa.int64()), ("list", pa.list_(pa.string()))]),
        ({"a": 2**53 + 1, "list": ["x", None]}, {"a": None, "list": []}, {"a": 1, "list": None}),
    ),
}  # fmt: skip
_COLUMNS = [pa.field(name, type_) for name, (type_, _) in _VALUES.items()]
STREAM = pa.schema([("rowtime", pa.int64()), ("rowpartition", pa.int32()), ("rowoffset", pa.int64()), *_COLUMNS])
TABLE = pa.schema([("id", pa.int64()), *_COLUMNS])


@dataclass(frozen=True)
class State:
    """A feed at one of its Delta versions: what every reader has to see. `snapshot` is Iceberg's of that version."""

    feed: Feed
    folder: Path
    delta_version: int
    newest: bool
    schema: pa.Schema
    paths: tuple[str, ...]
    snapshot: int
    rows: int
    hash: str

    @property
    def name(self) -> str:
        return f"{self.feed.name}, version {self.delta_version}{' (newest)' if self.newest else ''}"

    @property
    def iceberg(self) -> str:
        return str(self.folder / FOLDER)


def hash_of(found: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema) -> tuple[int, str]:
    """The rows of `schema` in what a reader returns: how many, and their hash."""
    content = ContentHash()
    for batch in found.to_batches() if isinstance(found, pa.Table) else found:
        content.add_batch(batch.select(schema.names).cast(schema))
    return content.row_count, content.hexdigest()


def made(root: Path) -> list[State]:
    """Makes the lake; returns all states that can be read of it."""
    lake = Lake(str(root), print, grace_hours=24)
    stream = parse_feed({"name": "events", "type": "stream", "source": "EVENTS"}, "events")
    table = parse_feed({"name": "totals", "type": "table", "source": "TOTALS"}, "totals")
    for feed in (stream, table):
        lake.feeds.add(feed)
    return [*_states(lake, stream, _fill_stream), *_states(lake, table, _fill_table)]


def _states(lake: Lake, feed: Feed, fill: Any) -> list[State]:
    with lake.writing(feed, {}) as table:
        fill(table)
        publish_iceberg(table)
        publish_ducklake(table)
        return [_state(table, version) for version in range(1, table.delta_version + 1)]


def _state(table: LakeTable, version: int) -> State:
    from pyiceberg.table import StaticTable

    metadata = StaticTable.from_metadata(f"file://{table.uri(FOLDER)}").metadata
    published = {one.summary["lake.delta-version"]: one.snapshot_id for one in metadata.snapshots if one.summary}
    files, schema = table.files_at(version), pa.schema([column.remove_metadata() for column in table.schema])
    return State(
        table.feed, Path(table.uri()), version, version == table.delta_version, schema,
        tuple(table.uri(file.path) for file in files), published[str(version)],
        *hash_of(table.read_batches(files), schema),
    )  # fmt: skip


def _rows(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {name: values[(n + place) % len(values)] for place, (name, (_, values)) in enumerate(_VALUES.items())}
        for n in range(first, first + count)
    ]


def _fill_stream(table: LakeTable) -> None:
    table.create(STREAM, "topic")
    for number in (1, 2, 3):
        first = 40 * number
        rows = [
            {"rowtime": _START_MS + n % 5 * _DAY_MS, "rowpartition": n % 2, "rowoffset": n // 2, **row}
            for n, row in enumerate(_rows(first, 40), first)
        ]
        marks = dict.fromkeys((0, 1), ((first + 40) // 2, _START_MS))
        _commit(table, number, STREAM, rows, Change(bookmarks=marks, partitions=2, note={"kind": "stream"}))
    compact_part(table, Goal(10**9, None), _id(4), NOW, Compacted(table.feed.name))


def _fill_table(table: LakeTable) -> None:
    table.create(TABLE, "")
    for version in (1, 2):
        rows = [{"id": n, **row} for n, row in enumerate(_rows(7 * version, 30 * version))]
        note = {"kind": "snapshot", "version": version}
        _commit(table, version, TABLE, rows, Change(current_version=version, note=note))


def _commit(table: LakeTable, number: int, schema: pa.Schema, rows: list[dict[str, Any]], change: Change) -> None:
    place = {"date_column": "rowtime"} if table.feed.type == "stream" else {"partition": str(number)}
    writer = StagedWriter(table.staging_folder(_id(number)), schema, **place)
    writer.add(pa.RecordBatch.from_pylist(rows, schema=schema))
    table.commit(_id(number), dataclasses.replace(change, adds=writer.finish()), NOW)


def _id(number: int) -> str:
    return f"20261120T060000Z-{number:08x}"
