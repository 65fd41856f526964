"""What any source of rows is and gives, in plain values that know no server.

A stream is read from bookmarks on, in tasks; rows of a topic partition come in the order of their offsets, and some may
come again: `once` lets each through once. A table is read whole, with proof of its end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.errors import TimeIsOver, TryLater

UNKNOWN = -1
_MOMENT_S = 0.01

Outcome = Literal["exact", "quiet", "time limit"]
"""How a read of a stream ended: at its true end, where the server stood still, or because the time was over."""


@dataclass(frozen=True)
class Source:
    """A stream or table, and the topic that its rows are in."""

    name: str
    kind: str
    topic: str
    partitions: int


@dataclass(frozen=True)
class Offsets:
    """A topic partition's first offset that still exists (or UNKNOWN), its end, and how far a query has read it."""

    start: int
    end: int
    consumed: int


class Bookmark(NamedTuple):
    """How far a topic partition was read: the next offset, and the ROWTIME of the row before it, if there was one."""

    next_offset: int
    last_rowtime_ms: int | None = None


@dataclass(frozen=True)
class Wanted:
    """Which rows: `new` ones from the bookmarks on, `old` ones before them; those with ROWTIME in [start, end), ms."""

    new: bool = True
    old: bool = False
    start_ms: int | None = None
    end_ms: int | None = None


NEW_ROWS, OLD_ROWS, ALL_ROWS = Wanted(), Wanted(new=False, old=True), Wanted(old=True)


@dataclass(frozen=True)
class Task:
    """A part of a stream to read, in plain values: it can be sent to another process.

    `start` are bookmarks by topic partition. `ends` tell which partitions are read and how far; without them, all are,
    until the source finds no more.
    """

    feed: str
    topic: str
    start: Mapping[int, Bookmark]
    ends: Mapping[int, Offsets] | None = None
    wanted: Wanted = NEW_ROWS
    accept_gap: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the ends tell that there is nothing to read."""
        return self.ends is not None and all(at.end <= self._first(p, at) for p, at in self.ends.items())

    def _first(self, partition: int, offsets: Offsets) -> int:
        known = self.start.get(partition)
        return max(offsets.start, 0 if known is None or self.wanted.old else known.next_offset)


@dataclass(frozen=True)
class Limits:
    """Seconds: how long still means quiet, how long without any progress means stalled, and when to stop (clock)."""

    quiet_s: float = 3
    stall_s: float = 120
    deadline: float | None = None

    def left_s(self) -> float | None:
        """Seconds to the deadline, never less than a moment; None without one."""
        return None if self.deadline is None else max(_MOMENT_S, self.deadline - time.monotonic())

    @property
    def over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    @contextlib.contextmanager
    def in_time(self, what: str) -> Iterator[None]:
        """Raises TimeIsOver when there is no time for the block, and for what fails in it because the time is over."""
        if self.over:
            raise TimeIsOver(what)
        try:
            yield
        except TryLater as error:
            raise TimeIsOver(what) if self.over else error from None


@dataclass(frozen=True)
class ReadPolicy:
    """When a read of a table is believed.

    `recheck_s` is the pause between two reads, `wait_s` how long a cluster that is not whole is waited for,
    `max_shrink` the share of its rows that a table may lose at once (1: all), `allow_shrink` how a person allows more.
    `tell` hears why a table is waited for.
    """

    recheck_s: float
    wait_s: float
    max_shrink: float
    allow_shrink: str = "--allow-shrink"
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Look:
    """What one look at a cluster found. `trouble` says why a read now could lack rows; empty when all is well.

    Two looks are equal when nothing has changed between them that a read depends on.
    """

    state: object = None
    trouble: str = ""
