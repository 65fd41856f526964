"""Replaces rows of the lake by reading them from their source again: one day of a stream, or all of it.

Each replacement is one commit, and only rows that were read again are replaced: rows that the source has lost stay.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DayNotReplaceable, ReadInPart, TimeIsOver
from pipeline.export.commit import ExportResult, Run, commit_unreadable, gaps_note, prepare_table, unreadable_note
from pipeline.export.plan import cut, due_rows, plan_read, refuse_day_of_nothing, stream_of
from pipeline.export.pool import Work
from pipeline.export.stage import Staged
from pipeline.lake.change import Change
from pipeline.lake.files import DataFile, read_staged
from pipeline.lake.names import name_of_act, name_of_part
from pipeline.lake.rewrite import rows_not_in
from pipeline.lake.staging import Staging
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedFile, StagedWriter, partition_dates
from pipeline.once import ReadOnce, read_once, row_recreated
from pipeline.source import ALL_ROWS, OLD_ROWS, Bookmark, Source, Sources, StreamSource, Task, Wanted

_DAY_MS = 86_400_000


def export_day(sources: Sources, table: LakeTable, run: Run, done: ExportResult, day: dt.date) -> None:
    """Reads one day of the lake's rows again and replaces it in one commit; the bookmark stays.

    Raises DayNotReplaceable when the source has lost rows of that day, ReadInPart when the read may have missed them.
    """
    stream = stream_of(sources, table)
    refuse_day_of_nothing(table)
    plan = plan_read(stream, table, run.limits, _rows_of(day, table))
    prepare_table(run, table, plan.columns, stream.source.topic)
    old = [file for file in table.files if file.partition == day.isoformat()]
    staging = Staging.of(table)
    run.progress.of(table.feed.name).begin("reading", due_rows(plan.tasks))
    writer, read = staging.writer(name_of_part(run.id, 0)), read_once(stream, plan.tasks, run.limits)
    try:
        _write_day(writer, staging, run.progress.of(table.feed.name).counted(read.batches), table, day)
        if read.outcome == "time limit":
            raise TimeIsOver(table.feed.name)
        staged = writer.finish()
        _refuse_lost_rows(table, day, old, staged, read, stream.source)
        _refuse_other_rows(table, old, staged, stream.source.topic)
        _refuse_rows_elsewhere(table, day, old, staged)
    except BaseException:
        writer.discard()
        raise
    note = {"kind": "replace day", "run": run.id, "day": day.isoformat(), "rows": writer.row_count,
            "unreadable": unreadable_note(read.unreadable)}  # fmt: skip
    done.commit(table, run.id, Change(adds=staged, removes=old, note=note), run.now)
    done.describe([read])


def _rows_of(day: dt.date, table: LakeTable) -> Wanted:
    """The rows to read: of that day only, if the feed is partitioned by ROWTIME, else all old rows."""
    if table.feed.partition_column != "rowtime":
        return OLD_ROWS
    first_ms = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp() * 1000)
    return dataclasses.replace(OLD_ROWS, start_ms=first_ms, end_ms=first_ms + _DAY_MS)


def _write_day(
    writer: StagedWriter, staging: Staging, batches: Iterable[pa.RecordBatch], table: LakeTable, day: dt.date
) -> None:
    for batch in batches:
        dates = partition_dates([batch], table.feed.partition_column)[0]
        writer.add(staging.fit(batch.filter(pc.fill_null(pc.equal(dates, pa.scalar(day)), False))))


def export_full(
    sources: Sources, table: LakeTable, run: Run, done: ExportResult, kept: LakeTable | None = None
) -> None:
    """Reads the whole stream again and replaces, in one commit, every row that the source still has.

    Rows that the source no longer has stay. Records after the bookmarks that are no rows are committed to the table
    `kept` before that, if it is given. Raises ReadInPart when the read ends before the bookmark.
    """
    stream = stream_of(sources, table)
    plan = plan_read(stream, table, run.limits, ALL_ROWS, run.accept_gap)
    prepare_table(run, table, plan.columns, stream.source.topic)
    marks, parts, staging, source = table.bookmarks(), list[Staged](), Staging.of(table, kept), stream.source
    rest = staging.writer(name_of_act(run.id, "keep"))
    try:
        _stage_all(cut(plan, run.commit_rows, run.engine), stream, table, run, staging, parts)
        reached = {p: mark for part in parts for p, mark in part.bookmarks.items()}
        _refuse_part(table, source, parts, reached)
        files = [file for part in parts for file in part.files]
        for batch in rows_not_in(table, table.files, files):
            rest.add(staging.fit(batch))
        files += rest.finish()
        if kept is not None:
            left_out = [file for part in parts for file in part.unreadable_files]
            commit_unreadable(kept, run, source, left_out, reached, name_of_part(run.id, 0))
    except BaseException:
        rest.discard()
        for part in parts:
            part.discard()
        raise
    gaps = {p: gap for part in parts for p, gap in part.gaps.items()}
    rows = sum(part.row_count for part in parts)
    unreadable = sum((Counter(part.unreadable) for part in parts), Counter[str]())
    note = {"kind": "full", "run": run.id, "rows": rows, "kept_rows": rest.row_count, "gaps": gaps_note(gaps),
            "unreadable": unreadable_note(unreadable)}  # fmt: skip
    change = Change(files, table.files, marks | reached, source.partitions, source.topic_id, note=note)
    done.commit(table, run.id, change, run.now)
    done.describe(parts)
    if rest.row_count:
        done.notes.append(f"{rest.row_count} rows that the source no longer has were kept")


def _stage_all(
    tasks: Sequence[Task], stream: StreamSource, table: LakeTable, run: Run, staging: Staging, parts: list[Staged]
) -> None:
    """Adds the staged parts of all tasks to `parts`. Raises TimeIsOver where one has not ended."""
    meter = run.progress.of(table.feed.name)
    meter.begin("reading", due_rows(tasks))
    with Work(tasks, stream, run.limits, staging, run.id, meter=meter).parts(run.engine) as staged:
        parts += (part for _, part in staged)
    if sum(not part.goes_on for part in parts) < len(tasks):
        raise TimeIsOver(table.feed.name)


def _refuse_part(table: LakeTable, source: Source, parts: Sequence[Staged], reached: Mapping[int, Bookmark]) -> None:
    """Raises TimeIsOver, or ReadInPart, for a read that has not reached the bookmarks."""
    if any(part.outcome == "time limit" for part in parts):
        raise TimeIsOver(table.feed.name)
    behind = [p for p, mark in table.bookmarks().items() if reached.get(p, mark).next_offset < mark.next_offset]
    if behind:
        raise _read_in_part(source, f"before the bookmark in partitions {', '.join(map(str, behind))}")


def _read_in_part(source: Source, where: str) -> ReadInPart:
    return ReadInPart(
        f"reading {source.name} again broke off {where}; nothing was replaced",
        "run the same command again; where it stays so, compare by: python metadata_utils.py verify --source",
    )


def _refuse_lost_rows(
    table: LakeTable,
    day: dt.date,
    old: Sequence[DataFile],
    staged: Sequence[StagedFile],
    read: ReadOnce,
    source: Source,
) -> None:
    lost = sum(batch.num_rows for batch in rows_not_in(table, old, staged))
    if lost and not read.proved:
        raise _read_in_part(source, f"before {lost} rows of {day} had come")
    if lost:
        raise DayNotReplaceable(
            f"{lost} rows of {day} that are in the lake are no longer in {source.topic}; the day is left as it is",
            "nothing needs to be done: the lake has more than the source",
        )


def _refuse_other_rows(table: LakeTable, old: Sequence[DataFile], staged: Sequence[StagedFile], topic: str) -> None:
    """Raises TopicChanged when a row that was read again differs in ROWTIME from the lake's row at its offset."""
    columns = ["rowpartition", "rowoffset", "rowtime"]
    then = [batch.select(columns) for batch in table.read_batches(old)]
    if not then or not staged:
        return
    now = pa.concat_tables([read_staged(table.store, file, columns) for file in staged])
    both = now.join(pa.Table.from_batches(then), columns[:2], join_type="inner", right_suffix="_then")
    others = both.filter(pc.not_equal(both["rowtime"], both["rowtime_then"]))
    for row in others.slice(0, 1).to_pylist():
        raise row_recreated(topic, row["rowpartition"], row["rowoffset"], row["rowtime"], row["rowtime_then"])


def _count_elsewhere(table: LakeTable, old: Sequence[DataFile], staged: Sequence[StagedFile]) -> int:
    """How many staged rows are also in other files than the `old` ones; files of other times are not read."""
    times = [read_staged(table.store, file, ["rowtime"]).column(0) for file in staged if file.row_count]
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


def _refuse_rows_elsewhere(
    table: LakeTable, day: dt.date, old: Sequence[DataFile], staged: Sequence[StagedFile]
) -> None:
    elsewhere = _count_elsewhere(table, old, staged)
    if elsewhere:
        raise DayNotReplaceable(
            f"{elsewhere} rows of {day} lie under other dates in the lake: its partitioning was changed",
            f"python export_to_data_lake.py --stream {table.feed.name} --full",
        )
