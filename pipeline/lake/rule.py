"""How long a feed keeps its rows, as one value that can be compared and kept in the log.

The log remembers the longest rule under which rows were committed, until an expiry by a shorter one went through. So
a rule that was mistyped in a feed's file is known from the one that the rows were kept by.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from pipeline.feeds import Feed

FOR_EVER = 2**31 - 1
_DAYS, _VERSIONS = "retention-days", "retention-versions"


@dataclass(frozen=True)
class Rule:
    """The days and the versions that are kept; FOR_EVER where there is no limit."""

    days: int
    versions: int

    @classmethod
    def of(cls, feed: Feed) -> Self:
        return cls(feed.retention_days or FOR_EVER, feed.retention_versions or FOR_EVER)

    @classmethod
    def in_log(cls, transaction: Callable[[str], int | None]) -> Self | None:
        """The rule that the log remembers; `transaction` gives the version of an application transaction."""
        days, versions = transaction(_DAYS), transaction(_VERSIONS)
        return None if days is None or versions is None else cls(days, versions)

    def transactions(self) -> dict[str, int]:
        return {_DAYS: self.days, _VERSIONS: self.versions}

    def longer(self, other: Rule) -> Rule:
        return Rule(max(self.days, other.days), max(self.versions, other.versions))

    def first_day(self, day: dt.date) -> dt.date:
        """The oldest date that is kept on `day`; the calendar's first where the rule goes back further than that."""
        return dt.date.fromordinal(max(1, day.toordinal() - self.days))

    def __str__(self) -> str:
        parts = [f"{self.days} days"] if self.days != FOR_EVER else []
        parts += [f"{self.versions} versions"] if self.versions != FOR_EVER else []
        return " and ".join(parts) or "for ever"
