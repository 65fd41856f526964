"""Which stream or table a feed reads, and which rows of a stream are due. Changes nothing and reads no row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from pipeline.errors import LogDamaged, SourceUnknown, TopicChanged, WrongUsage
from pipeline.export.engine import Engine
from pipeline.feeds import Feed
from pipeline.lake.change import PARTITIONS, number_of
from pipeline.lake.table import LakeTable
from pipeline.limits import Limits
from pipeline.once import gaps_before
from pipeline.source import (
    NEW_ROWS,
    UNKNOWN,
    Bookmark,
    Offsets,
    Plan,
    Source,
    Sources,
    StreamSource,
    TableSource,
    Task,
    Wanted,
)

_FEWEST = 100_000
"""The least offsets of a part: fewer are not worth a worker, which takes a second to start."""


def stream_of(sources: Sources, table: LakeTable) -> StreamSource:
    """The feed's stream.

    Raises SourceUnknown when it is a table at the source, TopicChanged when it reads another topic now.
    """
    found = sources.find(table.feed.source, table.feed.read_from)
    if found.kind != "stream":
        raise _of_other_kind(found.source, table.feed)
    if table.exists and table.topic != found.source.topic:
        raise TopicChanged(
            f"{found.source.name} now reads the topic {found.source.topic}; the lake's rows are from {table.topic}",
            f"python manage_feeds.py archive {table.feed.name}, then add a new feed for it",
        )
    if found.source.topic_id and table.topic_number not in (None, number_of(found.source.topic_id)):
        raise TopicChanged(
            f"the topic {found.source.topic} was recreated: it has another id than that of the lake's rows",
            f"keep the history under its feed (manage_feeds.py archive {table.feed.name}) and add a new one",
        )
    return found


def table_of(sources: Sources, feed: Feed) -> TableSource:
    """The feed's table. Raises SourceUnknown when it is a stream at the source."""
    found = sources.find(feed.source, feed.read_from)
    if found.kind != "table":
        raise _of_other_kind(found.source, feed)
    return found


def _of_other_kind(source: Source, feed: Feed) -> SourceUnknown:
    return SourceUnknown(
        f"{source.name} is a {source.kind} on the server, but the feed {feed.name} is for a {feed.type}",
        f"python manage_feeds.py delete {feed.name} --confirm, then add it with --type {source.kind}",
    )


def refuse_day_of_nothing(table: LakeTable) -> None:
    """Raises WrongUsage where a day is to be replaced in a table that is not there yet."""
    if not table.exists:
        raise WrongUsage(f"{table.feed.name} has no rows to replace yet", "export it without --date first")


def plan_read(
    stream: StreamSource,
    table: LakeTable,
    limits: Limits,
    wanted: Wanted = NEW_ROWS,
    accept_gap: bool = False,
) -> Plan:
    """How the rows from the table's bookmarks on, or other `wanted` rows, will be read.

    A topic partition that was added since the table's last commit is due from offset 0 on. With `accept_gap` rows that
    the topic has lost after a bookmark are no error.

    Raises TopicChanged for a topic that was recreated or lost rows, LogDamaged for a table that has rows and no
    bookmark.
    """
    marks, ends = table.bookmarks(), stream.ends()
    if not (marks or wanted.old) and table.files:
        raise LogDamaged(
            f"the feed {table.feed.name} has rows, and its log has lost the bookmarks: they would come twice",
            f"have each row replaced: python export_to_data_lake.py --stream {table.feed.name} --full",
        )
    if marks and wanted.new:
        there = range(stream.source.partitions) if ends is None else ends
        known = table.head.transactions.get(PARTITIONS, 0)
        marks |= {partition: Bookmark(0) for partition in there if partition >= known}
    whole = Task(table.feed.name, stream.source.topic, marks, ends, wanted, accept_gap)
    gaps_before(whole)
    if not wanted.new:
        whole = dataclasses.replace(whole, ends=_up_to(marks, ends or {}))
    return dataclasses.replace(stream.plan(whole, limits), ends=ends)


def cut(plan: Plan, most: int, engine: Engine) -> tuple[Task, ...]:
    """The plan's tasks; for a source that seeks, cut into parts of at most `most` offsets, enough for all workers of
    the engine.

    Parts of a topic partition come in the order of their offsets, the partitions take turns, and short partitions share
    one part.
    """
    if not plan.seeks:
        return plan.tasks
    return tuple(part for task in plan.tasks for part in _parts(task, most, engine))


def due_rows(tasks: Sequence[Task]) -> int | None:
    """The offsets to be read, about as many as rows will come; None where the end is not known."""
    due = 0
    for task in tasks:
        if task.ends is None:
            return None
        due += sum(max(0, at.end - task.first(p, at)) for p, at in task.ends.items())
    return due


def _parts(task: Task, most: int, engine: Engine) -> Iterator[Task]:
    ends, due = task.ends or {}, due_rows([task]) or _FEWEST
    size = min(most, max(_FEWEST, -(-due // engine.workers) if due > _FEWEST else 0))
    slices = {(turn, p): at for p, end in ends.items() for turn, at in enumerate(_slices(task, p, end, size))}
    together = dict[int, Offsets]()
    for turn, partition in sorted(slices):
        at = slices[turn, partition]
        full = sum(other.end - other.start for other in together.values()) + at.end - at.start > size
        if together and (full or partition in together):
            yield _part(task, together)
            together = {}
        together[partition] = at
    if together:
        yield _part(task, together)
    if not slices:
        yield dataclasses.replace(task, is_part=True)


def _slices(task: Task, partition: int, at: Offsets, size: int) -> Iterator[Offsets]:
    """The offset ranges of a partition; a partition without rows has one too, so that its bookmark moves."""
    first, mark = task.first(partition, at), task.start.get(partition)
    if first >= at.end and (mark is None or at.start > mark.next_offset):
        yield Offsets(first, at.end, 0)
    for start in range(first, at.end, size):
        yield Offsets(start, min(start + size, at.end), 0)


def _part(task: Task, ends: Mapping[int, Offsets]) -> Task:
    """A task for these ranges. A partition's bookmark goes to the part with the offset before it, or the first one."""
    marks = {p: (mark, task.ends[p]) for p, mark in task.start.items() if p in ends and task.ends is not None}
    start = {}
    for partition, (mark, whole) in marks.items():
        place, at = max(mark.next_offset - 1, task.first(partition, whole)), ends[partition]
        if at.start <= place < at.end or at.start == at.end:
            start[partition] = mark
    return dataclasses.replace(task, start=start, ends=dict(ends), is_part=True)


def _up_to(marks: Mapping[int, Bookmark], ends: Mapping[int, Offsets]) -> dict[int, Offsets]:
    """The ends of the rows that are already in the lake."""
    starts = {partition: offsets.start for partition, offsets in ends.items()}
    return {p: Offsets(starts.get(p, UNKNOWN), mark.next_offset, 0) for p, mark in marks.items()}
