"""Table reads of a test: what they store, how they fail, and a clock that only pauses move."""

from __future__ import annotations

from pipeline.errors import PipelineError, TryLater
from pipeline.limits import ReadPolicy

PAUSE_S, WAIT_S = 5.0, 180.0


class Broken(TryLater):
    """A read that may be whole the next time."""


class Refused(PipelineError):
    """A read that is over for good."""


class Stored:
    """A read that was put somewhere."""

    def __init__(self, row_count: int) -> None:
        self.row_count, self.kept = row_count, True

    def discard(self) -> None:
        assert self.kept, "discarded twice"
        self.kept = False


class Clock:
    """Time passes in pauses only, and where a test lets it."""

    def __init__(self) -> None:
        self.now, self.pauses, self.said = 0.0, list[float](), list[str]()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def policy(self, max_shrink: float = 0.2, recheck_s: float = PAUSE_S) -> ReadPolicy:
        return ReadPolicy(
            recheck_s, WAIT_S, max_shrink, sleep=self.sleep, clock=lambda: self.now, tell=self.said.append
        )
