"""The state of the lake as values, which `text` and `json_forms` render."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError
from pipeline.faults import collected
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.lake.metadata import FeedState, Totals, describe_feed, sum_of
from pipeline.lake.table import LakeTable


@dataclass(frozen=True)
class LakeState:
    """The feeds of a lake by their logs, and the errors of feeds that could not be read."""

    root: str
    feeds: tuple[FeedState, ...]
    errors: tuple[PipelineError, ...] = ()

    @property
    def totals(self) -> Totals:
        """Of all feeds."""
        return sum_of(state.totals for state in self.feeds)

    @property
    def stream_count(self) -> int:
        return sum(state.feed.type == "stream" for state in self.feeds)

    @property
    def table_count(self) -> int:
        return len(self.feeds) - self.stream_count


@dataclass(frozen=True)
class Commit:
    """One entry of a feed's log. `note` is the run's note in it; see docs/commands.md."""

    delta_version: int
    at: dt.datetime
    note: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of commit, such as `stream` or `expire`."""
        return "add columns" if "added_columns" in self.note else str(self.note.get("kind", ""))

    @property
    def row_count(self) -> int | None:
        """The rows that the commit added; None if it added none."""
        return self.note.get("rows")

    @property
    def version(self) -> int | None:
        """The table version that it published."""
        return self.note.get("version")

    @property
    def outcome(self) -> str | None:
        """How the read of a stream ended."""
        return self.note.get("outcome")


@dataclass(frozen=True)
class History:
    """The commits of a feed, newest first."""

    feed: str
    exported: bool
    commits: tuple[Commit, ...]


def describe_lake(lake: Lake, feeds: Iterable[Feed], unreadable: Iterable[PipelineError] = ()) -> LakeState:
    """The state of each feed by its log; a log that cannot be read does not stop the others."""
    described, errors = list[FeedState](), list(unreadable)
    for feed in feeds:
        with collected(feed.name, errors):
            described.append(describe_feed(lake.table(feed)))
    return LakeState(str(lake), tuple(described), tuple(errors))


def history_of(table: LakeTable) -> History:
    """The commits of a feed, newest first."""
    commits = []
    for entry in table.history():
        note = entry.get("pipeline") or {"kind": str(entry.get("operation", "")).lower()}
        at = dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC)
        commits.append(Commit(entry["version"], at, note))
    return History(table.feed.name, table.exists, tuple(commits))
