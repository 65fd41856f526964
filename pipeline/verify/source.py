"""Has the lake what the server has? Rows are hashed, independent of order; one changed value shows.

Changes nothing. A stream is compared up to its bookmark, by topic partition, from the first offset that the server
still has; a table with what the server has now, which may have moved on since the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.content import ContentHash
from pipeline.export import source_of
from pipeline.findings import Finding
from pipeline.ksqldb.catalog import Source
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.push import Limits
from pipeline.ksqldb.snapshot import read_table
from pipeline.ksqldb.stream import OLD_ROWS, Bookmark, read_stream
from pipeline.lake.table import LakeTable


@dataclass
class Comparison:
    """What was compared, by part: topic partitions of a stream, or the one part of a table.

    `columns` tells the columns that are not the same on both sides; only new ones at the server let rows be compared.
    """

    feed: str
    columns: list[Finding] = field(default_factory=list)
    source: dict[int, ContentHash] = field(default_factory=dict)
    lake: dict[int, ContentHash] = field(default_factory=dict)
    beyond_retention: int = 0

    @property
    def row_count(self) -> int:
        return sum(part.row_count for part in self.lake.values())

    def findings(self, part_name: str) -> list[Finding]:
        """The columns and the parts that differ."""
        found = list(self.columns)
        for part in sorted(set(self.source) | set(self.lake)):
            there, here = self.source.get(part, ContentHash()), self.lake.get(part, ContentHash())
            if (there.row_count, there.hexdigest()) != (here.row_count, here.hexdigest()):
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


def _columns_of(source: Source) -> dict[str, pa.DataType]:
    schema = project(source, positions=source.kind == "stream").describe().schema
    return {column.name: column.type for column in schema}


def _compare_table(client: Client, source: Source, table: LakeTable, limits: Limits, result: Comparison) -> None:
    read = read_table(client, source, limits)
    names = table.schema.names
    result.source[0], result.lake[0] = ContentHash(), ContentHash()
    for batch in read.batches:
        result.source[0].add_batch(batch.select(names))
    files = table.versions().get(table.current_version or 0, [])
    for batch in table.read_batches(files):
        result.lake[0].add_batch(batch)


def part_names(table: LakeTable) -> str:
    """How a part of the comparison is called; the part's number goes into the braces."""
    return "partition {}" if table.feed.type == "stream" else f"version {table.current_version}"


def _compare_stream(client: Client, source: Source, table: LakeTable, limits: Limits, result: Comparison) -> None:
    marks = {partition: Bookmark(*mark) for partition, mark in table.bookmarks().items()}
    read = read_stream(client, source, marks, limits, wanted=OLD_ROWS)
    first = {partition: offsets.start for partition, offsets in (read.ends or {}).items()}
    names = table.schema.names
    for batch in read.batches:
        for partition, offset in _first_offsets(batch).items():
            first.setdefault(partition, offset)
        _add(result.source, batch.select(names))
    for batch in table.read_batches(table.files):
        known = _since(batch, first)
        result.beyond_retention += batch.num_rows - known.num_rows
        _add(result.lake, known)


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
