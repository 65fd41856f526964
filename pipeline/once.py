"""Each row of a stream once, keyed by topic partition and offset, for any source.

Rows that come again are dropped; a topic that lost rows, or was recreated, is recognised by its offsets and reported.
The last rows before each bookmark are read again as witnesses: a recreated topic has other rows there, or none. The
ROWTIME of the very last one is compared here; `export.witness` compares the values with the lake's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import TopicChanged
from pipeline.limits import Limits
from pipeline.source import MOST_RECORDS, UNKNOWN, Bookmark, Offsets, Outcome, StreamSource, Task, weakest
from pipeline.unreadable import counted

WITNESSES = 20
"""Offsets before a bookmark that are asked for again: some may have no row, or one without a value to compare."""

_Numbers = Any  # a numpy array of integers or of truth values


def windows_of(task: Task) -> dict[int, tuple[int, int]]:
    """By topic partition the offsets of its witnesses: from the first to the bookmark, which is not among them."""
    return {p: (max(0, mark.next_offset - WITNESSES), mark.next_offset) for p, mark in task.start.items()}


def gaps_before(task: Task) -> dict[int, tuple[int, int]]:
    """By topic partition the offsets after the bookmark that the topic has lost: from and to (exclusive).

    Empty where the ends are not known. Raises TopicChanged where the topic ends before a bookmark, and for a gap that
    is not accepted.
    """
    gaps = dict[int, tuple[int, int]]()
    for partition, (due, _) in task.start.items() if task.ends is not None else ():
        offsets = task.ends.get(partition) if task.ends is not None else None
        if offsets is None or max(offsets.end, offsets.written) < due:
            raise topic_recreated(task.topic, partition, offsets.end if offsets else 0, due)
        if offsets.start > due and task.wanted.new:
            gaps[partition] = _gap(task, partition, due, offsets.start)
    return gaps


class OnceOnly:
    """Lets each wanted row of a task through once; checks the witnesses, and that no row after them was lost.

    `witnesses` gathers the rows at the offsets of `windows`, before later rows are returned; whoever compares them
    removes them from the list. `gaps` are the accepted gaps. `ends_now` asks the source for the topic's ends again.
    Raises TopicChanged.
    """

    def __init__(self, task: Task, ends_now: Callable[[], Mapping[int, Offsets] | None] = lambda: None) -> None:
        self.task, self._ends_now = task, ends_now
        self.gaps = gaps_before(task)
        self.windows = windows_of(task)
        self.witnesses: list[pa.RecordBatch] = []
        self.replayed_rows = 0
        self._highest: dict[int, int] = {}

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` without repeated or unwanted rows. A partition is read in order, so a step back is a replay."""
        if not batch.num_rows:
            return batch
        partitions, offsets, rowtimes = (
            batch.column(name).to_numpy() for name in ("rowpartition", "rowoffset", "rowtime")
        )
        order: Any = slice(None)
        if (partitions != partitions[0]).any():
            order = np.argsort(partitions, kind="stable")
            partitions, offsets, rowtimes = partitions[order], offsets[order], rowtimes[order]
        starts = np.append(0, np.flatnonzero(partitions[1:] != partitions[:-1]) + 1)
        known = partitions[starts].tolist()
        if self._all_go_on(known, starts, offsets):
            return batch
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(offsets)))
        new = self._are_new(known, starts, group, offsets)
        firsts, dues = np.array([self.windows.get(partition, (0, 0)) for partition in known])[group].T
        is_old = offsets < dues
        witnesses = new & is_old & (offsets >= firsts)
        for at in np.flatnonzero(witnesses & (offsets == dues - 1)).tolist():
            self._check_witness(int(partitions[at]), int(offsets[at]), int(rowtimes[at]))
        if witnesses.any():
            self.witnesses.append(batch.filter(_in_order(witnesses, order)))
        kept = new & ((is_old & self.task.wanted.old) | (~is_old & self.task.wanted.new))
        if self.task.is_part:
            starts_at, ends_at = np.array([self._bounds(partition) for partition in known])[group].T
            kept &= (offsets >= starts_at) & (offsets < ends_at)
        return batch if kept.all() else batch.filter(_in_order(kept, order))

    def _all_go_on(self, known: list[int], starts: _Numbers, offsets: _Numbers) -> bool:
        """Whether all rows are new and wanted and none is a witness, as in most batches: a moment instead of a search.

        The arguments are those of `_are_new`.
        """
        rises = offsets[1:] > offsets[:-1]
        rises[starts[1:] - 1] = True
        if not (self.task.wanted.new and rises.all()):
            return False
        lasts = offsets[np.append(starts[1:], len(offsets)) - 1].tolist()
        for partition, first, last in zip(known, offsets[starts].tolist(), lasts, strict=True):
            start, end = self._bounds(partition) if self.task.is_part else (0, MOST_RECORDS)
            due = max(start, self._highest.get(partition, MOST_RECORDS) + 1, self.windows.get(partition, (0, 0))[1])
            if first < due or last >= end:
                return False
        self._highest.update(zip(known, lasts, strict=True))
        return True

    def _are_new(self, known: list[int], starts: _Numbers, group: _Numbers, offsets: _Numbers) -> _Numbers:
        """Which rows have a higher offset than all earlier rows of their partition.

        Rows are grouped by partition: `known` has the partition of each group, `starts` the place of its first row.
        """
        for partition, first in zip(known, offsets[starts].tolist(), strict=True):
            if partition not in self._highest:
                self._check_first(partition, first)
        highest = np.array([self._highest.get(partition, -1) for partition in known])
        apart = group * MOST_RECORDS
        reached = np.maximum(np.maximum.accumulate(offsets + apart) - apart, highest[group])
        before = np.concatenate(([-1], reached[:-1]))
        before[starts] = highest
        new = offsets > before
        self.replayed_rows += int(len(offsets) - np.count_nonzero(new))
        lasts = np.append(starts[1:], len(offsets)) - 1
        self._highest.update(zip(known, reached[lasts].tolist(), strict=True))
        return new

    def _bounds(self, partition: int) -> tuple[int, int]:
        at = (self.task.ends or {}).get(partition)
        return (0, 0) if at is None else (at.start, at.end)

    def _check_witness(self, partition: int, offset: int, rowtime: int) -> None:
        known = self.task.start[partition].last_rowtime_ms
        if known is not None and rowtime != known:
            raise row_recreated(self.task.topic, partition, offset, rowtime, known)

    def _check_first(self, partition: int, first: int) -> None:
        """Records a gap, or raises for it, where the first row to come lies after the bookmark.

        There is no gap where the topic's ends were known before the read, and either the bookmark has no row before it
        or the topic still starts at or before the bookmark: compaction has removed the rows between. Where the ends are
        not known there is none in a partition of which no row ever came: its first records may be no rows. Nor is there
        one for a part of a task: its source seeks and knows the start.
        """
        mark = None if self.task.is_part else self.task.start.get(partition)
        if mark is None or first <= mark.next_offset or not self.task.wanted.new or partition in self.gaps:
            return
        if self.task.ends is None:
            is_gap = mark != Bookmark(0)
        else:
            is_gap = mark.last_rowtime_ms is not None and not self._still_reaches(partition, mark)
        if is_gap:
            self.gaps[partition] = _gap(self.task, partition, mark.next_offset, first)

    def _still_reaches(self, partition: int, mark: Bookmark) -> bool:
        """Whether no retention has passed the bookmark up to this moment: it was before the read that the ends were
        looked at.
        """
        at = (self._ends_now() or {}).get(partition)
        return at is not None and UNKNOWN < at.start <= mark.next_offset


def _in_order(mask: _Numbers, order: Any) -> pa.Array:
    """A mask over sorted rows, turned into a mask over the rows in their original order."""
    as_they_came = np.empty(len(mask), bool)
    as_they_came[order] = mask
    return pa.array(as_they_came)


@dataclass
class ReadOnce:
    """Tasks read one after the other, each row once. All fields but `batches` are set when these have ended."""

    batches: Iterator[pa.RecordBatch]
    outcome: Outcome | None = None
    proved: bool = True
    replayed_rows: int = 0
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)
    unreadable: Counter[str] = field(default_factory=Counter)


def read_once(stream: StreamSource, tasks: Iterable[Task], limits: Limits) -> ReadOnce:
    """The rows of the tasks. Raises TopicChanged, and what the source raises."""

    def batches() -> Iterator[pa.RecordBatch]:
        outcomes = list[Outcome | None]()
        for task in tasks:
            once, read = OnceOnly(task, stream.ends), stream.read(task, limits)
            for batch in read.batches:
                whole.unreadable += sum(map(counted, read.take_unreadable()), Counter[str]())
                yield once.keep(batch)
            outcomes.append(read.outcome)
            whole.proved &= read.proved
            whole.replayed_rows += once.replayed_rows
            whole.gaps |= once.gaps
        whole.outcome = weakest(outcomes)

    whole = ReadOnce(batches())
    return whole


def _gap(task: Task, partition: int, wanted: int, first: int) -> tuple[int, int]:
    if not task.accept_gap:
        raise TopicChanged(
            f"the topic {task.topic} may have lost rows: partition {partition} now begins at offset {first}, "
            f"but the next row due for the lake is {wanted} (its retention passed the bookmark)",
            "if that loss is known, run once with --accept-gap: the gap is recorded and the export goes on",
        )
    return wanted, first


def topic_recreated(topic: str, partition: int, end: int, bookmark: int) -> TopicChanged:
    """The error for a topic that ends before a bookmark."""
    return TopicChanged(
        f"the topic {topic} was recreated or cut: partition {partition} ends at offset {end}, "
        f"but rows up to offset {bookmark - 1} are in the lake",
        "keep the old history under its feed (manage_feeds.py archive) and add a new feed for the new topic",
    )


def row_recreated(topic: str, partition: int, offset: int, rowtime_ms: int, known_ms: int) -> TopicChanged:
    """The error for a row whose ROWTIME is not that of the lake's row at the same offset."""
    return TopicChanged(
        f"the topic {topic} was recreated: offset {offset} of partition {partition} has ROWTIME {rowtime_ms} now, "
        f"and had {known_ms} when it was read into the lake",
        "keep the old history under its feed (manage_feeds.py archive) and add a new feed for the topic",
    )
