"""What is known of the lake, as values: `text` and `json_forms` are two renderings of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError
from pipeline.faults import collected
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.lake.metadata import FeedState, describe_feed
from pipeline.lake.table import LakeTable


@dataclass(frozen=True)
class LakeState:
    """The feeds of a lake, as their logs describe them, and why others could not be read."""

    root: str
    feeds: tuple[FeedState, ...]
    errors: tuple[PipelineError, ...] = ()


@dataclass(frozen=True)
class Commit:
    """One entry of a feed's log. `note` is what the run wrote down with it; see docs/commands.md."""

    delta_version: int
    at: dt.datetime
    note: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What it did."""
        return "add columns" if "added_columns" in self.note else str(self.note.get("kind", ""))

    @property
    def row_count(self) -> int | None:
        """None for a commit that added no rows."""
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
    """What the log of each feed says; a log that cannot be read stops no other feed."""
    described, errors = list[FeedState](), list(unreadable)
    for feed in feeds:
        with collected(feed.name, errors):
            described.append(describe_feed(lake.table(feed)))
    return LakeState(str(lake), tuple(described), tuple(errors))


def history_of(table: LakeTable) -> History:
    """What each commit of a feed did, and when."""
    commits = []
    for entry in table.history():
        note = entry.get("pipeline") or {"kind": str(entry.get("operation", "")).lower()}
        at = dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC)
        commits.append(Commit(entry["version"], at, note))
    return History(table.feed.name, table.exists, tuple(commits))
