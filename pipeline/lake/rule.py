"""How long a feed keeps its rows, as one value that can be compared and stored in the log.

The log stores the longest rule under which rows were committed, until an expiry by a shorter rule was done. So a rule
that was mistyped in a feed's file can be told from the rule by which the rows were kept.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.feeds import Feed
from pipeline.lake.files import DataFile

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
        """The rule stored in the log; `transaction` returns the version of an application transaction."""
        days, versions = transaction(_DAYS), transaction(_VERSIONS)
        return None if days is None or versions is None else cls(days, versions)

    @classmethod
    def of_older_log(
        cls, files: Sequence[DataFile], kind: str, newest: dt.datetime | None, read: Callable[[], bytes]
    ) -> Self | None:
        """The rule of a table whose log does not store it yet: the longer of the one in `_metadata.json` and the one
        that the files show.
        """
        shown = cls.shown_by(files, kind, newest) if newest else None
        described = cls.in_metadata(read)
        if shown is None or described is None:
            return shown or described
        return cls(max(shown.days, described.days), max(shown.versions, described.versions))

    @classmethod
    def in_metadata(cls, read: Callable[[], bytes]) -> Self | None:
        """The rule in a feed's `_metadata.json`; None where there is no file, or no rule in it."""
        try:
            kept = json.loads(read())["retention"]
            return cls(int(kept["days"] or FOR_EVER), int(kept["versions"] or FOR_EVER))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @classmethod
    def shown_by(cls, files: Sequence[DataFile], kind: str, newest: dt.datetime) -> Self | None:
        """The shortest rule that would have kept all these files at the `newest` commit; None without files."""
        if kind == "table":
            days = [file.added_at.date() for file in files]
        else:
            days = [dt.date.fromisoformat(file.partition) for file in files if file.partition is not None]
        if not days:
            return None
        versions = len({file.partition for file in files}) if kind == "table" else FOR_EVER
        return cls(max(1, (newest.date() - min(days)).days), versions)

    def transactions(self) -> dict[str, int]:
        return {_DAYS: self.days, _VERSIONS: self.versions}

    def longer(self, other: Rule) -> Rule:
        return Rule(max(self.days, other.days), max(self.versions, other.versions))

    def first_day(self, day: dt.date) -> dt.date:
        """The oldest date that is kept on `day`; the first date of Python where the rule goes back further."""
        return dt.date.fromordinal(max(1, day.toordinal() - self.days))

    def __str__(self) -> str:
        limits = ((self.days, "day"), (self.versions, "version"))
        parts = [f"{limit} {noun}{'s' * (limit != 1)}" for limit, noun in limits if limit != FOR_EVER]
        return " and ".join(parts) or "for ever"
