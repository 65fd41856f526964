"""The state of a feed's table as values, read from its log; and `_metadata.json`, the same for people and scripts.

The file is derived from the log after each commit and replaced in one step. It names the log entry that it describes,
so as long as that is the newest one, its values are used instead of the log's. Losing it loses nothing: the next run
writes it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.columns import KSQLDB_NAME, KSQLDB_ROLE, KSQLDB_TYPE
from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from pipeline.lake.store import disk_errors, json_bytes
from pipeline.lake.table import METADATA, LakeTable
from pipeline.lake.versions import current_snapshot
from pipeline.source import StateNote
from pipeline.text import rfc3339


@dataclass(frozen=True)
class Totals:
    """Rows, bytes and number of some committed files."""

    row_count: int = 0
    size_bytes: int = 0
    file_count: int = 0

    @classmethod
    def of(cls, files: Sequence[DataFile]) -> Totals:
        return cls(sum(file.row_count for file in files), sum(file.size_bytes for file in files), len(files))

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.row_count + other.row_count, self.size_bytes + other.size_bytes, self.file_count + other.file_count
        )


def sum_of(totals: Iterable[Totals]) -> Totals:
    return sum(totals, Totals())


@dataclass(frozen=True)
class ColumnState:
    """A column of the data files, and its name, type and role at the source; None where the log does not have them."""

    name: str
    arrow_type: str
    ksqldb_name: str | None
    ksqldb_type: str | None
    role: str | None


@dataclass(frozen=True)
class PartitionState:
    """A date or a version, when its newest file was added, and for streams the first and the last ROWTIME."""

    partition: str | None
    totals: Totals
    added_at: dt.datetime
    rowtime_ms: tuple[int, int] | None


@dataclass(frozen=True)
class TableState:
    """A feed's table in the lake. `bookmark` is the next offset of each topic partition, `entry_checksum` that of the
    newest log entry.

    `state` are the offsets that the source's table was made of when the current version was read, if they are known.
    """

    delta_version: int
    entry_checksum: str
    created_at: dt.datetime
    last_commit_at: dt.datetime
    columns: tuple[ColumnState, ...]
    partitions: tuple[PartitionState, ...]
    totals: Totals
    current_version: int | None
    topic: str | None
    bookmark: Mapping[int, int]
    state: StateNote | None


@dataclass(frozen=True)
class FeedState:
    """A feed and its table; None for a feed that was never exported."""

    feed: Feed
    table: TableState | None

    @property
    def totals(self) -> Totals:
        return self.table.totals if self.table else Totals()


def describe_feed(table: LakeTable) -> FeedState:
    """The state of a feed by its log: sizes and counts are of committed files."""
    if not table.exists:
        return FeedState(table.feed, None)
    written = _written(table)
    if written is not None and table.growth.since == table.head.checksum:
        return FeedState(table.feed, _state_of(written))
    partitions = _partitions(table.files, table.feed) if written is None else _grown(written, table)
    state = TableState(
        delta_version=table.delta_version,
        entry_checksum=table.head.checksum,
        created_at=table.head.created_at,
        last_commit_at=table.head.committed_at,
        columns=tuple(_column(field) for field in table.schema),
        partitions=tuple(partitions),
        totals=sum_of(partition.totals for partition in partitions),
        current_version=table.current_version,
        topic=table.topic or None,
        bookmark={partition: mark.next_offset for partition, mark in table.bookmarks().items()},
        state=current_snapshot(table).get("state"),
    )
    return FeedState(table.feed, state)


def write_metadata(table: LakeTable) -> None:
    with disk_errors(table.uri()):
        table.store.replace(METADATA, json_bytes(metadata_json(describe_feed(table)) | _place_json(table)))


def copy_metadata(source: LakeTable, table: LakeTable) -> None:
    """Writes the `_metadata.json` of a copy: that of its source where it describes the same entry, with this place."""
    written = _written(source)
    form = metadata_json(describe_feed(table)) if written is None else written
    with disk_errors(table.uri()):
        table.store.replace(METADATA, json_bytes(form | _place_json(table)))


def is_described(table: LakeTable) -> bool:
    """Whether `_metadata.json` describes the newest log entry, the feed as it is now, and the lake at this place."""
    written = _written(table) if table.growth.since == table.head.checksum else None
    return written is not None and written.items() >= {**_head_json(table.feed), **_place_json(table)}.items()


def described_partitions(table: LakeTable) -> set[str | None] | None:
    """The table's partitions, by `_metadata.json` and the table's growth; None where that describes another entry."""
    written, added = _written(table), {file.partition for file in table.growth.files}
    return None if written is None else {partition["partition"] for partition in written["partitions"]} | added


def _written(table: LakeTable) -> dict[str, Any] | None:
    """The content of `_metadata.json`; None where it describes another log entry than the table's growth is since."""
    try:
        written = json.loads(table.store.read(METADATA))
        is_of_this_state = (written["schema_version"], written["entry_checksum"]) == (1, table.growth.since)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return written if is_of_this_state else None


def _state_of(written: Mapping[str, Any]) -> TableState:
    return TableState(
        delta_version=written["delta_version"],
        entry_checksum=written["entry_checksum"],
        created_at=dt.datetime.fromisoformat(written["created_at"]),
        last_commit_at=dt.datetime.fromisoformat(written["last_commit_at"]),
        columns=tuple(ColumnState(**column) for column in written["columns"]),
        partitions=tuple(_written_partitions(written)),
        totals=_totals_of(written["totals"]),
        current_version=written["current_version"],
        topic=written["topic"],
        bookmark={int(partition): offset for partition, offset in (written["bookmark"] or {}).items()},
        state=written["state"],
    )


def _written_partitions(written: Mapping[str, Any]) -> Iterator[PartitionState]:
    for form in written["partitions"]:
        added_at = dt.datetime.fromisoformat(form["added_at"])
        times = tuple(form["rowtime_ms"]) if "rowtime_ms" in form else None
        yield PartitionState(form["partition"], _totals_of(form), added_at, times)


def _totals_of(form: Mapping[str, int]) -> Totals:
    return Totals(form["rows"], form["bytes"], form["files"])


def metadata_json(state: FeedState) -> dict[str, Any]:
    """The stable form of `_metadata.json`, which docs/commands.md describes."""
    table = state.table
    head = _head_json(state.feed) | {"exported": table is not None, "totals": _totals_json(state.totals)}
    if table is None:
        return head
    return head | {
        "delta_version": table.delta_version,
        "entry_checksum": table.entry_checksum,
        "created_at": rfc3339(table.created_at),
        "last_commit_at": rfc3339(table.last_commit_at),
        "columns": [vars(column) for column in table.columns],
        "partitions": [_partition_json(partition) for partition in table.partitions],
        "current_version": table.current_version,
        "topic": table.topic,
        "bookmark": {str(partition): offset for partition, offset in table.bookmark.items()} or None,
        "state": table.state,
    }


def _head_json(feed: Feed) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "feed": feed.name,
        "source": feed.source,
        "type": feed.type,
        "storage_mode": feed.storage_mode,
        "partitioning": feed.partitioning,
        "retention": {"days": feed.retention_days, "versions": feed.retention_versions},
    }


def _place_json(table: LakeTable) -> dict[str, str]:
    """Where the lake is: `views.sql` names its files by that."""
    return {"location": table.uri()}


def _totals_json(totals: Totals) -> dict[str, int]:
    return {"rows": totals.row_count, "bytes": totals.size_bytes, "files": totals.file_count}


def _partition_json(state: PartitionState) -> dict[str, Any]:
    form = {"partition": state.partition, **_totals_json(state.totals), "added_at": rfc3339(state.added_at)}
    return form if state.rowtime_ms is None else form | {"rowtime_ms": list(state.rowtime_ms)}


def _column(field: pa.Field) -> ColumnState:
    notes = field.metadata or {}
    at_source = (notes.get(key, b"").decode() or None for key in (KSQLDB_NAME, KSQLDB_TYPE, KSQLDB_ROLE))
    return ColumnState(field.name, str(field.type), *at_source)


def _partitions(files: Sequence[DataFile], feed: Feed) -> list[PartitionState]:
    grouped: dict[str | None, list[DataFile]] = {}
    for file in files:
        grouped.setdefault(file.partition, []).append(file)
    states = []
    for partition, members in grouped.items():
        times = [file.bounds["rowtime"] for file in members if feed.type == "stream" and "rowtime" in file.bounds]
        added_at = max(file.added_at for file in members)
        states.append(PartitionState(partition, Totals.of(members), added_at, _span(times)))
    return _in_order(states)


def _grown(written: Mapping[str, Any], table: LakeTable) -> list[PartitionState]:
    """The partitions that are written down, with the files that were added since."""
    states = {state.partition: state for state in _written_partitions(written)}
    for new in _partitions(table.growth.files, table.feed):
        old = states.get(new.partition, new)
        if old is not new:
            times = _span([span for span in (old.rowtime_ms, new.rowtime_ms) if span is not None])
            new = PartitionState(new.partition, old.totals + new.totals, max(old.added_at, new.added_at), times)
        states[new.partition] = new
    return _in_order(states.values())


def _span(times: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return (min(low for low, _ in times), max(high for _, high in times)) if times else None


def _in_order(states: Iterable[PartitionState]) -> list[PartitionState]:
    """Dates by time, versions by number."""
    return sorted(states, key=lambda state: (len(state.partition or ""), state.partition or ""))
