"""How long a read may take, and when a read of a table is accepted as complete; the same for every source."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.errors import TimeIsOver, TryLater
from pipeline.turns import FeedTurns, Shared, Turn

_MOMENT_S = 0.01


@dataclass(frozen=True)
class Limits:
    """The time limits of a read, in seconds.

    After `quiet_s` without new rows a read has ended, after `stall_s` without any progress it has failed; `deadline`
    is a time of `time.monotonic`. `turns` are shared with other reads of this process; None for a read that is alone.
    """

    quiet_s: float = 3
    stall_s: float = 120
    deadline: float | None = None
    turns: FeedTurns | None = None

    def left_s(self) -> float | None:
        """Seconds to the deadline, never less than a moment; None without one."""
        if self.stopped:
            return _MOMENT_S
        return None if self.deadline is None else max(_MOMENT_S, self.deadline - time.monotonic())

    @property
    def over(self) -> bool:
        return self.stopped or (self.deadline is not None and time.monotonic() >= self.deadline)

    @property
    def stopped(self) -> bool:
        """Whether all reads of this process are to stop."""
        return self.turns is not None and self.turns.stopped

    def give_way(self) -> None:
        """Ends this read's priority: other reads of the process no longer wait for it."""
        if self.turns is not None:
            self.turns.give_way()

    def take_turn(self, shared: Shared, what: str) -> Turn:
        """Waits for a turn, to be given back. Raises TimeIsOver."""
        return Turn() if self.turns is None else self.turns.take(shared, what, self.left_s())

    @contextlib.contextmanager
    def in_time(self, what: str) -> Iterator[None]:
        """Raises TimeIsOver when the time is over before the block, or when the block fails after it is over."""
        if self.over:
            raise TimeIsOver(what)
        try:
            yield
        except TryLater as error:
            raise TimeIsOver(what) if self.over else error from None


@dataclass(frozen=True)
class ReadPolicy:
    """When a read of a table is accepted as complete.

    `recheck_s` is the pause between two reads, `wait_s` how long to wait for a cluster that is not whole, `max_shrink`
    the share of its rows that a table may lose at once (1: all), `allow_shrink` how a person allows more, for hints.
    `tell` is called with the reason for each wait.
    """

    recheck_s: float
    wait_s: float
    max_shrink: float
    allow_shrink: str = "--allow-shrink"
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = lambda _: None
