"""Has the lake what the server has? Rows are hashed, independent of order; one changed value shows.

Changes nothing. A stream is compared up to its bookmark, by topic partition, from the first offset that the server
still has, without what the lake's own retention took. A table is compared with what the server has now; where that
differs and the table is not known to be in the state of the snapshot, it has moved on, which is no fault.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.export.stream import source_of
from pipeline.findings import Finding
from pipeline.fingerprint import ContentHash
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.cluster import whole_cluster
from pipeline.ksqldb.describe import Description, state_note, table_offsets
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.pull import read_table
from pipeline.ksqldb.stream import read_stream
from pipeline.lake.rewrite import place_keys
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import partition_dates
from pipeline.source import OLD_ROWS, Limits


@dataclass
class Comparison:
    """What was compared, by part: topic partitions of a stream, or the one part of a table.

    `columns` tells the columns that are not the same on both sides; only new ones at the server let rows be compared.
    `expired_rows` are the server's that retention took from the lake; `same_state` is False when the server is not
    known to be where it was at the snapshot.
    """

    feed: str
    columns: list[Finding] = field(default_factory=list)
    source: dict[int, ContentHash] = field(default_factory=dict)
    lake: dict[int, ContentHash] = field(default_factory=dict)
    beyond_retention: int = 0
    expired_rows: int = 0
    same_state: bool = True

    @property
    def row_count(self) -> int:
        return sum(part.row_count for part in self.lake.values())

    @property
    def moved_on(self) -> bool:
        """Whether the rows differ, for a reason that is no fault."""
        return not self.same_state and bool(self._differing())

    def _differing(self) -> list[int]:
        none = ContentHash()
        return [
            part
            for part in sorted(set(self.source) | set(self.lake))
            if self.source.get(part, none).row_count != self.lake.get(part, none).row_count
            or self.source.get(part, none).hexdigest() != self.lake.get(part, none).hexdigest()
        ]

    def findings(self, part_name: str) -> list[Finding]:
        """The columns and the parts that differ."""
        found = list(self.columns)
        for part in self._differing() if self.same_state else ():
            there, here = self.source.get(part, ContentHash()), self.lake.get(part, ContentHash())
            detail = f"{part_name.format(part)}: {here.row_count} rows in the lake, {there.row_count} on the server"
            same = here.row_count == there.row_count
            what = "values differ from the server's" if same else "rows differ from the server's"
            found.append(Finding(self.feed, what, detail))
        return found


def compare_with_source(client: Client, table: LakeTable, limits: Limits) -> Comparison:
    """Reads the feed's rows at the server and in the lake. Raises what reading either raises."""
    source = source_of(client, table)
    there, here = _columns_of(source), {column.name: column.type for column in table.schema}
    changed = [f"{name} is gone" for name in here if name not in there]
    changed += [
        f"{name} is {type_} in the lake, {there[name]} on the server"
        for name, type_ in here.items()
        if type_ != there.get(name, type_)
    ]
    new = [f"{name} is not in the lake yet" for name in there if name not in here]
    result = Comparison(table.feed.name)
    if changed or new:
        detail = "; ".join([*changed, *new]) + ("; the rows were not compared" if changed else "")
        result.columns.append(Finding(table.feed.name, "columns differ from the server's", detail))
    if not changed:
        (_compare_stream if table.feed.type == "stream" else _compare_table)(client, source, table, limits, result)
    return result


def _columns_of(source: Description) -> dict[str, pa.DataType]:
    schema = project(source, positions=source.kind == "stream").describe().schema
    return {column.name: column.type for column in schema}


def _compare_table(client: Client, source: Description, table: LakeTable, limits: Limits, result: Comparison) -> None:
    state = _state_of_snapshot(table)
    offsets = table_offsets(client, source)
    before = state_note(offsets)
    names = table.schema.names
    result.source[0], result.lake[0] = ContentHash(), ContentHash()
    with whole_cluster(client, source, offsets):
        for batch in read_table(client, source, limits).batches:
            result.source[0].add_batch(batch.select(names))
    files = table.versions().get(table.current_version or 0, [])
    for batch in table.read_batches(files):
        result.lake[0].add_batch(batch)
    result.same_state = state is not None and state == before == state_note(table_offsets(client, source))


def _state_of_snapshot(table: LakeTable) -> Any:
    """The state of the server's table that the current version is of; None where the log does not tell."""
    wanted = table.current_version
    for entry in table.history():
        note = entry.get("pipeline") or {}
        if wanted is not None and note.get("version") == wanted:
            if note.get("kind") == "snapshot":
                return note.get("state")
            wanted = note.get("rollback_of")
    return None


def part_names(table: LakeTable) -> str:
    """How a part of the comparison is called; the part's number goes into the braces."""
    return "partition {}" if table.feed.type == "stream" else f"version {table.current_version}"


def _compare_stream(client: Client, source: Description, table: LakeTable, limits: Limits, result: Comparison) -> None:
    marks = table.bookmarks()
    read = read_stream(client, source, marks, limits, wanted=OLD_ROWS)
    first = {partition: offsets.start for partition, offsets in (read.ends or {}).items()}
    names, line = table.schema.names, _last_expired(table)
    kept = _keys_up_to(table, line)
    for batch in read.batches:
        for partition, offset in _first_offsets(batch).items():
            first.setdefault(partition, offset)
        due = batch.filter(
            pc.or_(pc.invert(_is_up_to(batch, table, line)), pc.is_in(place_keys(batch), value_set=kept))
        )
        result.expired_rows += batch.num_rows - due.num_rows
        _add(result.source, due.select(names))
    for batch in table.read_batches(table.files):
        known = _since(batch, first)
        result.beyond_retention += batch.num_rows - known.num_rows
        _add(result.lake, known)


def _last_expired(table: LakeTable) -> dt.date | None:
    """The newest date that an expiry took; late rows of it and of older ones were taken too."""
    notes = (entry.get("pipeline") or {} for entry in table.history())
    taken = [date for note in notes if note.get("kind") == "expire" for date in note["partitions"]]
    return dt.date.fromisoformat(max(taken)) if taken else None


def _is_up_to(batch: pa.RecordBatch, table: LakeTable, line: dt.date | None) -> pa.Array:
    if line is None:
        return pa.array([False] * batch.num_rows, pa.bool_())
    dates = partition_dates([batch], table.feed.partition_column)[0]
    return pc.fill_null(pc.less_equal(dates, pa.scalar(line)), False)


def _keys_up_to(table: LakeTable, line: dt.date | None) -> pa.Array:
    """Of the lake's rows with such dates: what retention has not taken yet is compared."""
    files = [] if line is None else [f for f in table.files if f.partition and f.partition <= line.isoformat()]
    return pa.concat_arrays([place_keys(batch) for batch in table.read_batches(files)] or [pa.array([], pa.int64())])


def _first_offsets(batch: pa.RecordBatch) -> dict[int, int]:
    grouped = pa.Table.from_batches([batch]).group_by("rowpartition").aggregate([("rowoffset", "min")])
    return {row["rowpartition"]: row["rowoffset_min"] for row in grouped.to_pylist()}


def _since(batch: pa.RecordBatch, first: Mapping[int, int]) -> pa.RecordBatch:
    """The rows that the server still has."""
    partitions, offsets = batch.column("rowpartition"), batch.column("rowoffset")
    mask = pa.array([False] * batch.num_rows, pa.bool_())
    for partition, offset in first.items():
        mask = pc.or_(mask, pc.and_(pc.equal(partitions, partition), pc.greater_equal(offsets, offset)))
    return batch.filter(mask)


def _add(parts: dict[int, ContentHash], batch: pa.RecordBatch) -> None:
    partitions = batch.column("rowpartition")
    for partition in pc.unique(partitions).to_pylist():
        part = batch.filter(pc.equal(partitions, partition))
        parts.setdefault(partition, ContentHash()).add_batch(part)
