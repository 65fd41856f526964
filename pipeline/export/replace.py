"""Rows that the lake has already, read from ksqlDB again: one day of a stream, or all of it.

Each replacement is one commit, and only rows that were read again are replaced: what the source has lost stays.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DayNotReplaceable, ReadInPart, TimeIsOver, WrongUsage
from pipeline.export.stream import (
    Exported,
    Run,
    fill_writer,
    fit_batch,
    gaps_note,
    marks_without_rows,
    prepare_table,
    source_of,
    stream_writer,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.stream import StreamRead, read_stream, recreated
from pipeline.lake.change import Change
from pipeline.lake.files import DataFile, read_staged
from pipeline.lake.rewrite import rows_not_in
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedFile, partition_dates
from pipeline.source import ALL_ROWS, OLD_ROWS, Bookmark, Source

_DAY_MS = 86_400_000


def _read_in_part(source: Source, where: str) -> ReadInPart:
    return ReadInPart(
        f"reading {source.name} again broke off {where}; nothing was replaced",
        "run the same command again; where it stays so, compare by: python metadata_utils.py verify --source",
    )


def export_day(client: Client, table: LakeTable, run: Run, done: Exported, day: dt.date) -> None:
    """Reads one day of what the lake has again and replaces it in one commit; the bookmark stays.

    Raises DayNotReplaceable when the source has lost rows of that day, ReadInPart when it may be the read that has.
    """
    source = source_of(client, table)
    if not table.exists:
        raise WrongUsage(f"{table.feed.name} has no rows to replace yet", "export it without --date first")
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    wanted = OLD_ROWS
    if table.feed.partition_column == "rowtime":
        first_ms = int(start.timestamp() * 1000)
        wanted = dataclasses.replace(OLD_ROWS, start_ms=first_ms, end_ms=first_ms + _DAY_MS)
    read = read_stream(client, source, table.bookmarks(), run.limits, wanted=wanted)
    schema = prepare_table(run, table, read.columns, source.topic)
    old = [file for file in table.files if file.partition == day.isoformat()]
    writer = stream_writer(table, schema, run.id)
    try:
        for batch in read.batches:
            dates = partition_dates([batch], table.feed.partition_column)[0]
            writer.add(fit_batch(batch.filter(pc.fill_null(pc.equal(dates, pa.scalar(day)), False)), schema))
        _refuse_part(read, table)
        staged = writer.finish()
        lost = sum(batch.num_rows for batch in rows_not_in(table, old, staged))
        if lost and not read.proved:
            raise _read_in_part(source, f"before {lost} rows of {day} had come")
        if lost:
            raise DayNotReplaceable(
                f"{lost} rows of {day} that are in the lake are no longer in {source.topic}; the day is left as it is",
                "nothing needs to be done: the lake has more than the source",
            )
        _refuse_other_rows(table, old, staged, source.topic)
        elsewhere = _count_elsewhere(table, old, staged)
        if elsewhere:
            raise DayNotReplaceable(
                f"{elsewhere} rows of {day} lie under other dates in the lake: its partitioning was changed",
                f"python export_to_data_lake.py --stream {table.feed.name} --full",
            )
    except BaseException:
        writer.discard()
        raise
    note = {"kind": "replace day", "run": run.id, "day": day.isoformat(), "rows": writer.row_count}
    done.tell_read(read)
    done.commit(table, run.id, Change(adds=staged, removes=old, note=note), run.now)


def export_full(client: Client, table: LakeTable, run: Run, done: Exported) -> None:
    """Reads the whole stream again and replaces, in one commit, every row that the source still has.

    Rows that the source no longer has stay. Raises ReadInPart when the read ends before the bookmark.
    """
    source = source_of(client, table)
    old_marks, new_marks = table.bookmarks(), dict[int, Bookmark]()
    read = read_stream(client, source, old_marks, run.limits, run.accept_gap, ALL_ROWS)
    schema = prepare_table(run, table, read.columns, source.topic)
    writer = stream_writer(table, schema, run.id)
    kept = stream_writer(table, schema, f"{run.id}0001")
    try:
        fill_writer(writer, read.batches, None, new_marks)
        _refuse_part(read, table)
        new_marks |= marks_without_rows(read, old_marks | new_marks)
        behind = [p for p, (due, _) in old_marks.items() if new_marks.get(p, (due, None))[0] < due]
        if behind:
            raise _read_in_part(source, f"before the bookmark in partitions {', '.join(map(str, behind))}")
        staged = writer.finish()
        for batch in rows_not_in(table, table.files, staged):
            kept.add(fit_batch(batch, schema))
        staged = [*staged, *kept.finish()]
    except BaseException:
        writer.discard()
        kept.discard()
        raise
    note = {"kind": "full", "run": run.id, "rows": writer.row_count, "kept_rows": kept.row_count}
    change = Change(
        staged, table.files, old_marks | new_marks, source.partitions, note=note | {"gaps": gaps_note(read)}
    )
    done.tell_read(read)
    done.commit(table, run.id, change, run.now)
    if kept.row_count:
        done.notes.append(f"{kept.row_count} rows that the source no longer has were kept")


def _refuse_other_rows(table: LakeTable, old: Sequence[DataFile], staged: Sequence[StagedFile], topic: str) -> None:
    """Raises TopicChanged when a row that was read again is another one than the lake's at its offset."""
    columns = ["rowpartition", "rowoffset", "rowtime"]
    then = [batch.select(columns) for batch in table.read_batches(old)]
    if not then or not staged:
        return
    now = pa.concat_tables([read_staged(file, columns) for file in staged])
    both = now.join(pa.Table.from_batches(then), columns[:2], join_type="inner", right_suffix="_then")
    others = both.filter(pc.not_equal(both["rowtime"], both["rowtime_then"]))
    for row in others.slice(0, 1).to_pylist():
        raise recreated(topic, row["rowpartition"], row["rowoffset"], row["rowtime"], row["rowtime_then"])


def _count_elsewhere(table: LakeTable, old: Sequence[DataFile], staged: Sequence[StagedFile]) -> int:
    """How many staged rows other files than the `old` ones have; files from other times are not read."""
    times = [read_staged(file, ["rowtime"]).column(0) for file in staged if file.row_count]
    if not times:
        return 0
    first, last = min(pc.min(time).as_py() for time in times), max(pc.max(time).as_py() for time in times)
    others = []
    for file in table.files:
        low, high = file.bounds.get("rowtime", (first, last))
        if file not in old and low <= last and first <= high:
            others.append(file)
    only_there: int = sum(rest.num_rows for rest in rows_not_in(table, others, staged))
    return sum(file.row_count for file in others) - only_there


def _refuse_part(read: StreamRead, table: LakeTable) -> None:
    if read.outcome == "time limit":
        raise TimeIsOver(table.feed.name)
