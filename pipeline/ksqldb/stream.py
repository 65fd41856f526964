"""The rows of a stream from a bookmark, each exactly once, keyed by topic partition and offset.

This is the seam behind which nobody knows where rows come from: `read_stream` yields Arrow batches that carry
rowtime, rowpartition and rowoffset, in the order of the offsets within a partition. REST cannot seek, so the server
scans the topic from its start and sends what the predicate lets through.

The last row before each bookmark is asked for again as a witness: a topic that was deleted and made anew has another
row there, or none. It is compared and never yielded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.ksqldb.catalog import Offsets, Source, quote, true_ends
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.projection import LakeColumn, project
from pipeline.ksqldb.push import Limits, Outcome, TopicChanged, start_push, topic_recreated


@dataclass(frozen=True)
class Bookmark:
    """How far a topic partition was read: the next offset, and the ROWTIME of the last row before it."""

    next_offset: int
    last_rowtime_ms: int | None = None


@dataclass(frozen=True)
class Window:
    """What was already read: rows before the bookmark, all or those with ROWTIME in [start, end), epoch ms."""

    start_ms: int | None = None
    end_ms: int | None = None


@dataclass
class StreamRead:
    """A stream while it is read: `schema` is there from the start, the rest is filled by `batches`.

    `outcome` says how the read ended: `exact` at the topic's true end, `quiet` where the server stood still,
    `time limit`. `replayed_rows` came again and were dropped.
    """

    source: Source
    columns: tuple[LakeColumn, ...]
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    outcome: Outcome | None = None
    row_count: int = 0
    replayed_rows: int = 0
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)


def read_stream(
    client: Client,
    source: Source,
    bookmarks: Mapping[int, Bookmark],
    limits: Limits,
    accept_gap: bool = False,
    window: Window | None = None,
) -> StreamRead:
    """The rows at and after the bookmarks; with `window`, that part of those before them.

    `accept_gap` goes on where the topic has already lost rows after the bookmark, and records the gap.
    Raises TopicChanged for a topic that was re-created or lost rows, PushStalled, and what the client raises.
    """
    projection = project(source, positions=True)
    ends = true_ends(client, source)
    keeper = _Keeper(source, bookmarks, accept_gap, window)
    if ends is not None:
        keeper.check_against(ends)
    if window is not None:
        ends = {p: Offsets(0, mark.next_offset, 0) for p, mark in bookmarks.items()}
    if ends is not None and all(end.end <= keeper.first_wanted(p, end.start) for p, end in ends.items()):
        reader = projection.describe()
        return StreamRead(source, reader.columns, reader.schema, iter(()), outcome="exact", gaps=keeper.gaps)
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)}{keeper.predicate()} EMIT CHANGES;"
    scanned_to = {} if window is not None else {p: mark.next_offset for p, mark in bookmarks.items()}
    push = start_push(client, source, sql, limits, ends, scanned_to)
    with push.answer.closing_on_error():
        reader = projection.reader(push.header)

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in push.rows():
            kept = keeper.keep(rows.values)
            read.row_count += len(kept)
            read.replayed_rows = keeper.replayed_rows
            if kept:
                yield reader.batch(kept)
        read.outcome = push.outcome

    read = StreamRead(source, reader.columns, reader.schema, batches(), gaps=keeper.gaps)
    return read


def recreated(topic: str, partition: int, offset: int, rowtime_ms: int, known_ms: int) -> TopicChanged:
    """The error for a row that the lake knows as another one."""
    return TopicChanged(
        f"the topic {topic} was re-created: offset {offset} of partition {partition} has ROWTIME {rowtime_ms} now, "
        f"and had {known_ms} when it was read into the lake",
        "keep the old history under its feed (manage_feeds.py archive) and add a new feed for the topic",
    )


class _Keeper:
    """Lets each row through once: new ones, or in a window old ones; checks the witnesses."""

    def __init__(
        self, source: Source, bookmarks: Mapping[int, Bookmark], accept_gap: bool, window: Window | None
    ) -> None:
        self._source, self._bookmarks, self._accept_gap, self._window = source, bookmarks, accept_gap, window
        self._highest: dict[int, int] = {}
        self.gaps: dict[int, tuple[int, int]] = {}
        self.replayed_rows = 0

    def first_wanted(self, partition: int, start: int) -> int:
        mark = self._bookmarks.get(partition)
        return 0 if self._window is not None else max(start, mark.next_offset if mark else 0)

    def predicate(self) -> str:
        if self._window is not None:
            if self._window.start_ms is None:
                return ""
            return f" WHERE ROWTIME >= {self._window.start_ms} AND ROWTIME < {self._window.end_ms}"
        if not self._bookmarks:
            return ""
        known = sorted(self._bookmarks)
        terms = [f"(ROWPARTITION = {p} AND ROWOFFSET >= {max(0, self._bookmarks[p].next_offset - 1)})" for p in known]
        terms += [f"ROWPARTITION = {p}" for p in range(known[-1]) if p not in self._bookmarks]
        return " WHERE " + " OR ".join([*terms, f"ROWPARTITION > {known[-1]}"])

    def check_against(self, ends: Mapping[int, Offsets]) -> None:
        for partition, mark in self._bookmarks.items():
            offsets = ends.get(partition)
            if offsets is None or offsets.end < mark.next_offset:
                raise topic_recreated(self._source, partition, offsets.end if offsets else 0, mark.next_offset)
            if offsets.start > mark.next_offset and self._window is None:
                self._gap(partition, mark.next_offset, offsets.start)

    def keep(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """`rows` without those that came before; a task reads its partition in order, so a step back is a replay."""
        kept = []
        for row in rows:
            rowtime, partition, offset = row[0], row[1], row[2]
            if offset <= self._highest.get(partition, -1):
                self.replayed_rows += 1
                continue
            if self._window is not None:
                if offset >= self._next_offset(partition):
                    continue
            elif partition not in self._highest and not self._is_new(partition, offset, rowtime):
                self._highest[partition] = offset
                continue
            self._highest[partition] = offset
            kept.append(row)
        return kept

    def _next_offset(self, partition: int) -> int:
        mark = self._bookmarks.get(partition)
        return mark.next_offset if mark else 0

    def _is_new(self, partition: int, offset: int, rowtime: int) -> bool:
        """For the first row of a partition: False for the witness, which is compared here."""
        mark = self._bookmarks.get(partition)
        if mark is None:
            return True
        if offset < mark.next_offset:
            if mark.last_rowtime_ms is not None and rowtime != mark.last_rowtime_ms:
                raise recreated(self._source.topic, partition, offset, rowtime, mark.last_rowtime_ms)
            return False
        if offset > mark.next_offset and partition not in self.gaps:
            self._gap(partition, mark.next_offset, offset)
        return True

    def _gap(self, partition: int, wanted: int, first: int) -> None:
        if not self._accept_gap:
            raise TopicChanged(
                f"the topic {self._source.topic} may have lost rows: partition {partition} now begins at offset "
                f"{first}, but the next row due for the lake is {wanted} (its retention passed the bookmark)",
                "if that loss is known, run once with --accept-gap: the gap is recorded and the export goes on",
            )
        self.gaps[partition] = (wanted, first)
