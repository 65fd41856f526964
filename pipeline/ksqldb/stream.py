"""The rows of a stream from a bookmark, each exactly once, keyed by topic partition and offset.

This is the seam behind which nobody knows where rows come from: `read_stream` yields Arrow batches that carry
rowtime, rowpartition and rowoffset, in the order of the offsets within a partition. REST cannot seek, so the server
scans the topic from its start and sends what the predicate lets through.

The last rows before each bookmark are asked for again as witnesses: a topic that was deleted and recreated has others
there, or none. The very last one's ROWTIME is compared here; their values are left to who knows what they were. They
are never yielded as new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.columns import Column
from pipeline.errors import TopicChanged
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import Description, quote, true_ends
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.push import start_push, topic_recreated
from pipeline.source import NEW_ROWS, UNKNOWN, Bookmark, Limits, Offsets, Outcome, Source, Wanted

WITNESSES = 20
"""Offsets before a bookmark that are asked for again: some may have no row, or one without a value to compare."""


@dataclass
class StreamRead:
    """A stream while it is read: `schema` is there from the start, the rest is filled by `batches`.

    `ends` are the true ends at the start of the read, where they could be known. `outcome` says how it ended: `exact`
    at the goal, `quiet` where the server stood still, `time limit`; where it is not `proved`, the connection had to be
    left, and the last rows may not have come. `replayed_rows` came again and were dropped. `witnesses` are there before
    the rows after them, from the offsets of `windows`: by partition the first one and the bookmark.
    """

    source: Source
    columns: tuple[Column, ...]
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    ends: Mapping[int, Offsets] | None
    gaps: Mapping[int, tuple[int, int]]
    outcome: Outcome | None = None
    proved: bool = True
    row_count: int = 0
    replayed_rows: int = 0
    witnesses: list[pa.RecordBatch] = field(default_factory=list)
    windows: Mapping[int, tuple[int, int]] = field(default_factory=dict)


def read_stream(
    client: Client,
    source: Description,
    bookmarks: Mapping[int, Bookmark],
    limits: Limits,
    accept_gap: bool = False,
    wanted: Wanted = NEW_ROWS,
) -> StreamRead:
    """The rows at and after the bookmarks, or the `wanted` others.

    `accept_gap` goes on where the topic has already lost rows after the bookmark, and records the gap.
    Raises TopicChanged for a topic that was re-created or lost rows, PushStalled, and what the client raises.
    """
    projection = project(source, positions=True)
    ends = true_ends(client, source)
    keeper = _Keeper(source, bookmarks, ends, accept_gap, wanted)
    goal = ends
    if not wanted.new:
        starts = {p: offsets.start for p, offsets in (ends or {}).items()}
        goal = {p: Offsets(starts.get(p, UNKNOWN), mark.next_offset, 0) for p, mark in bookmarks.items()}
    if goal is not None and all(offsets.end <= keeper.first_wanted(p, offsets.start) for p, offsets in goal.items()):
        reader = projection.describe()
        return StreamRead(source, reader.columns, reader.schema, iter(()), ends, keeper.gaps, outcome="exact")
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)}{keeper.predicate()} EMIT CHANGES;"
    # By true ends the new rows alone are waited for, unless old ones are wanted as well.
    old_by_ends = wanted.old and goal is not None
    scanned_to = {} if old_by_ends else {p: mark.next_offset for p, mark in bookmarks.items()}
    push = start_push(client, source, sql, limits, goal, scanned_to)
    with push.answer.closing_on_error():
        reader = projection.reader(push.header)

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in push.rows():
            kept = keeper.keep(rows.values)
            read.row_count += len(kept)
            read.replayed_rows = keeper.replayed_rows
            if keeper.witnesses:
                read.witnesses.append(reader.batch(keeper.witnesses))
                keeper.witnesses = []
            if kept:
                yield reader.batch(kept)
        read.outcome, read.proved = push.outcome, push.answer.proved

    read = StreamRead(source, reader.columns, reader.schema, batches(), ends, keeper.gaps, windows=keeper.windows)
    return read


def recreated(topic: str, partition: int, offset: int, rowtime_ms: int, known_ms: int) -> TopicChanged:
    """The error for a row that the lake knows as another one."""
    return TopicChanged(
        f"the topic {topic} was re-created: offset {offset} of partition {partition} has ROWTIME {rowtime_ms} now, "
        f"and had {known_ms} when it was read into the lake",
        "keep the old history under its feed (manage_feeds.py archive) and add a new feed for the topic",
    )


class _Keeper:
    """Lets each wanted row through once; checks the witnesses, and that no row between was lost."""

    def __init__(
        self,
        source: Source,
        bookmarks: Mapping[int, Bookmark],
        ends: Mapping[int, Offsets] | None,
        accept_gap: bool,
        wanted: Wanted,
    ) -> None:
        self._source, self._bookmarks, self._accept_gap, self._wanted = source, bookmarks, accept_gap, wanted
        self._due = {partition: mark.next_offset for partition, mark in bookmarks.items()}
        self.windows = {partition: (max(0, due - WITNESSES), due) for partition, due in self._due.items()}
        self._ends_known = ends is not None
        self._highest: dict[int, int] = {}
        self.gaps: dict[int, tuple[int, int]] = {}
        self.witnesses: list[tuple[Any, ...]] = []
        self.replayed_rows = 0
        if ends is not None:
            self._check_against(ends)

    def first_wanted(self, partition: int, start: int) -> int:
        return max(start, 0 if self._wanted.old else self._due.get(partition, 0))

    def predicate(self) -> str:
        if self._wanted.start_ms is not None:
            return f" WHERE ROWTIME >= {self._wanted.start_ms} AND ROWTIME < {self._wanted.end_ms}"
        if self._wanted.old or not self._due:
            return ""
        known = sorted(self._due)
        terms = [f"(ROWPARTITION = {p} AND ROWOFFSET >= {self.windows[p][0]})" for p in known]
        terms += [f"ROWPARTITION = {p}" for p in range(known[-1]) if p not in self._due]
        return " WHERE " + " OR ".join([*terms, f"ROWPARTITION > {known[-1]}"])

    def _check_against(self, ends: Mapping[int, Offsets]) -> None:
        for partition, due in self._due.items():
            offsets = ends.get(partition)
            if offsets is None or offsets.end < due:
                raise topic_recreated(self._source, partition, offsets.end if offsets else 0, due)
            if offsets.start > due and self._wanted.new:
                self._gap(partition, due, offsets.start)

    def keep(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """`rows` without those that came before; a task reads its partition in order, so a step back is a replay."""
        kept = []
        for row in rows:
            partition, offset = row[1], row[2]
            if offset <= self._highest.get(partition, -1):
                self.replayed_rows += 1
                continue
            due = self._due.get(partition, 0)
            if partition not in self._highest and offset > due and self._wanted.new:
                self._check_first(partition, offset)
            self._highest[partition] = offset
            if offset == due - 1:
                self._check_witness(partition, offset, row[0])
            if due - WITNESSES <= offset < due:
                self.witnesses.append(row)
            if self._wanted.new if offset >= due else self._wanted.old:
                kept.append(row)
        return kept

    def _check_witness(self, partition: int, offset: int, rowtime: int) -> None:
        known = self._bookmarks[partition].last_rowtime_ms
        if known is not None and rowtime != known:
            raise recreated(self._source.topic, partition, offset, rowtime, known)

    def _check_first(self, partition: int, first: int) -> None:
        """The witness did not come. Where the server tells where the topic starts, only a row can be its own proof."""
        mark = self._bookmarks.get(partition)
        without_witness = mark is not None and mark.last_rowtime_ms is None and self._ends_known
        if mark is not None and partition not in self.gaps and not without_witness:
            self._gap(partition, mark.next_offset, first)

    def _gap(self, partition: int, wanted: int, first: int) -> None:
        if not self._accept_gap:
            raise TopicChanged(
                f"the topic {self._source.topic} may have lost rows: partition {partition} now begins at offset "
                f"{first}, but the next row due for the lake is {wanted} (its retention passed the bookmark)",
                "if that loss is known, run once with --accept-gap: the gap is recorded and the export goes on",
            )
        self.gaps[partition] = (wanted, first)
