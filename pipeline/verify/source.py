"""Compares the lake with the source by a hash of the rows that does not depend on their order; changes nothing.

The source's rows are compared with the fingerprints in the lake's log, those of a stream day by day; only days that
differ, or whose files have no fingerprint, are read from the lake. A stream is compared up to its bookmark, from the
first offset that the server still has, without rows that the lake removed on purpose. A table is compared with the
server's present rows; where they differ and the table is not known to be in the state of the snapshot, it has changed
since, which is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import Column, arrow_type
from pipeline.export.believed import read_watched
from pipeline.export.plan import plan_read, stream_of, table_of
from pipeline.findings import Finding
from pipeline.fingerprint import ContentHash, total
from pipeline.lake.files import DataFile
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import current_snapshot
from pipeline.lake.writer import Partition, by_date
from pipeline.limits import Limits
from pipeline.once import read_once
from pipeline.progress import Meter
from pipeline.source import OLD_ROWS, Sources, StreamSource, TableSource
from pipeline.text import plural
from pipeline.verify.removed import Removed
from pipeline.verify.verdict import Verdict


def check_source(sources: Sources, table: LakeTable, limits: Limits, meter: Meter | None = None) -> Verdict:
    """Reads the feed's rows at the source and in the lake; `meter` counts both. Raises what reading either raises."""
    meter = meter or Meter(table.feed.name)
    if table.feed.type == "stream":
        stream = stream_of(sources, table)
        return _checked(table, stream.columns(), lambda: _compare_stream(stream, table, limits, meter))
    source = table_of(sources, table.feed)
    return _checked(table, source.columns(), lambda: _compare_table(source, table, limits, meter))


def _checked(table: LakeTable, columns: Sequence[Column], compare: Callable[[], _Rows]) -> Verdict:
    """Compares the columns, and the rows if the source still has all of the lake's columns with the same types."""
    there = {column.lake_name: arrow_type(column.type) for column in columns}
    here = {column.name: column.type for column in table.schema}
    changed = [f"{column} is gone" for column in here if column not in there]
    changed += [
        f"{column} is {type_} in the lake, {there[column]} on the server"
        for column, type_ in here.items()
        if type_ != there.get(column, type_)
    ]
    new = [f"{column} is not in the lake yet" for column in there if column not in here]
    findings = list[Finding]()
    if changed or new:
        detail = "; ".join([*changed, *new]) + ("; the rows were not compared" if changed else "")
        findings.append(Finding(table.feed.name, "columns differ from the server's", detail))
    if changed:
        return Verdict(table.feed, tuple(findings))
    rows = compare()
    return Verdict(table.feed, (*findings, *rows.findings(table)), tuple(rows.compared(table)))


@dataclass
class _Rows:
    """The rows of both sides, by part: topic partitions of a stream, or the one part of a table.

    `same_state` is False when the server's table is not known to be in the state of the snapshot. The counts are of
    rows that are not compared: the server no longer has them, or the lake removed them.
    """

    source: dict[int, ContentHash] = field(default_factory=dict)
    lake: dict[int, ContentHash] = field(default_factory=dict)
    same_state: bool = True
    older_rows: int = 0
    expired_rows: int = 0
    given_up_rows: int = 0
    given_up_at_most: int = 0

    def differing(self) -> Iterator[tuple[int, ContentHash, ContentHash]]:
        for part in sorted(set(self.source) | set(self.lake)):
            there, here = self.source.get(part, ContentHash()), self.lake.get(part, ContentHash())
            if (there.row_count, there.hexdigest()) != (here.row_count, here.hexdigest()):
                yield part, there, here

    def findings(self, table: LakeTable) -> Iterator[Finding]:
        """The parts that differ."""
        of_stream = table.feed.type == "stream"
        for part, there, here in self.differing() if self.same_state else ():
            what = "values" if here.row_count == there.row_count else "rows"
            place = f"partition {part}" if of_stream else f"version {table.current_version}"
            detail = f"{place}: {here.row_count} rows in the lake, {there.row_count} on the server"
            yield Finding(table.feed.name, f"{what} differ from the server's", detail)
        if self.given_up_rows > self.given_up_at_most:
            detail = f"{self.given_up_rows} on the server where a repair gave up {self.given_up_at_most}"
            yield Finding(table.feed.name, "rows differ from the server's", detail)

    def compared(self, table: LakeTable) -> Iterator[str]:
        """What was compared, and what was not and why, for people."""
        if not self.same_state and any(self.differing()):
            yield "the table on the server has moved on since, or does not report its state: not compared"
            return
        yield f"{plural(sum(part.row_count for part in self.lake.values()), 'row')} as on the server"
        if self.older_rows:
            yield f"no longer on the server: {plural(self.older_rows, 'older row')}"
        if self.expired_rows:
            yield f"expired in the lake and still on the server: {plural(self.expired_rows, 'row')}"
        if self.given_up_rows:
            yield f"given up by a repair and still on the server: {plural(self.given_up_rows, 'row')}"
            yield f"to read them again: python export_to_data_lake.py --stream {table.feed.name} --full"


def _compare_table(source: TableSource, table: LakeTable, limits: Limits, meter: Meter) -> _Rows:
    snapshot, before = current_snapshot(table), source.state()
    taken_of, is_same_topic = snapshot.get("state"), snapshot.get("topic_id", "") in ("", source.source.topic_id)
    names = table.schema.names
    there, here = ContentHash(), ContentHash()
    back_then = source.read_at(taken_of, limits) if taken_of and is_same_topic else None
    files = table.versions().get(table.current_version or 0, [])
    meter.begin("comparing", sum(file.row_count for file in files))
    for batch in meter.counted(back_then.batches if back_then else read_watched(source, before, limits)):
        there.add_batch(batch.select(names))
    if _are_rows_of(files, there):
        here = there
    else:
        for batch in table.read_batches(files):
            here.add_batch(batch)
    same_state = taken_of is not None and taken_of == before.note == source.state().note
    # Compaction and retention of the topic can remove rows of that state, and never add one.
    return _Rows({0: there}, {0: here}, same_state or (back_then is not None and there.row_count > here.row_count))


def _compare_stream(stream: StreamSource, table: LakeTable, limits: Limits, meter: Meter) -> _Rows:
    plan = plan_read(stream, table, limits, OLD_ROWS)
    read = read_once(stream, plan.tasks, limits)
    first = {partition: offsets.start for partition, offsets in (plan.ends or {}).items()}
    names, removed = table.schema.names, Removed.by(table)
    rows = _Rows(given_up_at_most=removed.given_up_rows)
    meter.begin("comparing", sum(file.row_count for file in table.files))
    days = dict[Partition, dict[int, ContentHash]]()
    for batch in meter.counted(read.batches):
        for partition, offset in _first_offsets(batch).items():
            first.setdefault(partition, offset)
        due, expired, given_up = removed.split(batch)
        rows.expired_rows += expired
        rows.given_up_rows += given_up
        for day, part in by_date(due, table.feed.partition_column):
            _add(days.setdefault(day, {}), part.select(names))
    of_day: dict[Partition, list[DataFile]] = {day: [] for day in days}
    for file in table.files:
        of_day.setdefault(file.partition, []).append(file)
    for day, files in of_day.items():
        there = days.get(day, {})
        _merge(rows.source, there)
        if _are_rows_of(files, *there.values()):
            _merge(rows.lake, there)
            continue
        for batch in table.read_batches(files):
            known = _since(batch, first)
            rows.older_rows += batch.num_rows - known.num_rows
            _add(rows.lake, known)
    return rows


def _are_rows_of(files: Sequence[DataFile], *there: ContentHash) -> bool:
    """Whether files have, by the log, the same rows as the source has in all of these parts."""
    if not all(file.fingerprint for file in files):
        return False
    found = sum(file.row_count for file in files), total(file.fingerprint for file in files)
    return found == (sum(part.row_count for part in there), total(part.hexdigest() for part in there))


def _merge(parts: dict[int, ContentHash], others: Mapping[int, ContentHash]) -> None:
    for partition, other in others.items():
        parts.setdefault(partition, ContentHash()).merge(other)


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
