"""What the ledger of runs says of feeds: when each was exported, what failed last, and what verifications found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from pipeline.lake.runs import RunEntry

_EXPORT, _VERIFY = "export_to_data_lake.py", ["metadata_utils.py", "verify"]
_LOOK_BACK = dt.timedelta(days=92)


@dataclass(frozen=True)
class LastVerify:
    """A verification: when it ended, how many problems and errors it had."""

    at: dt.datetime
    findings: int
    errors: int


@dataclass
class History:
    """What the newest runs came to, by feed. `errors` are of feeds whose newest export failed.

    `last_run` is an export; `last_verify` is of all files, `last_verify_of_new` of some feeds or of what a run wrote.
    """

    exported_at: dict[str, dt.datetime] = field(default_factory=dict)
    errors: dict[str, Mapping[str, str]] = field(default_factory=dict)
    last_run: RunEntry | None = None
    last_verify: LastVerify | None = None
    last_verify_of_new: LastVerify | None = None
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, newest_first: Iterable[RunEntry], feeds: Set[str], now: dt.datetime) -> History:
        """Looks back until all is known, three months at most."""
        found = cls()
        for run in newest_first:
            if now - run.begun_at > _LOOK_BACK or (found.last_verify and feeds <= found.exported_at.keys()):
                break
            if is_export(run):
                found._add_export(run)
            found._add_verify(run)
        return found

    def _add_export(self, run: RunEntry) -> None:
        if self.last_run is None and run.state != "running":
            self.last_run = run
        for feed in exported_feeds(run):
            name = str(feed["feed"])
            if feed.get("status") in ("ok", "held") and run.ended_at is not None:
                self.exported_at.setdefault(name, run.ended_at)
            if name not in self._seen and feed.get("error"):
                self.errors[name] = feed["error"]
            self._seen.add(name)

    def _add_verify(self, run: RunEntry) -> None:
        result, words = run.result if isinstance(run.result, dict) else {}, run.command.split()
        found, is_whole = result.get("verify"), False
        if words[:2] == _VERIFY:
            found, named = result, set(words[2:]).intersection(map(str, result.get("feeds", ())))
            is_whole = "--since" not in words and not named
        if not isinstance(found, dict) or "findings" not in found or run.ended_at is None:
            return
        last = LastVerify(run.ended_at, len(found["findings"]), len(found.get("errors", ())))
        if is_whole:
            self.last_verify = self.last_verify or last
        else:
            self.last_verify_of_new = self.last_verify_of_new or last


def is_export(run: RunEntry) -> bool:
    return run.command.startswith(_EXPORT)


def exported_feeds(run: RunEntry) -> list[Mapping[str, Any]]:
    """What the record of an export says of each feed."""
    feeds = run.result.get("feeds") if isinstance(run.result, dict) else None
    return [feed for feed in feeds or () if isinstance(feed, dict) and "feed" in feed]
