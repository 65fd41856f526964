"""What the page shows, as values: the lake's state, and what only a page has beside it. Nothing is changed.

What cannot be read is said on the page and keeps nothing else from it: a feed, a file, a run, or the warehouse.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from pipeline.errors import PipelineError
from pipeline.faults import collected
from pipeline.feeds import Feed
from pipeline.lake.compaction import Goal, small_files
from pipeline.lake.lake import Lake
from pipeline.lake.metadata import FeedState, describe_feed
from pipeline.lake.runs import RunEntry
from pipeline.lake.table import LakeTable
from pipeline.report.model import LakeState
from pipeline.verify.versions import Differences, compare_versions
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import SnapshotEntry, list_snapshots

Warehouse = Callable[[], AbstractContextManager[Connection]]
_RUNS = 500
"""So many of the newest runs are looked through for those that proved something."""
_COMPARED_ROWS = 500_000
"""Two versions that have more are not compared by key: a page is made within seconds."""


@dataclass(frozen=True)
class FileFacts:
    """A feed's data files: their sizes from small to large, the newest one, and what a compaction would make of them.

    `small` are those that it would take, in bytes, `made` how many files would come of them.
    """

    sizes: tuple[int, ...] = ()
    newest: str | None = None
    small: tuple[int, ...] = ()
    made: int = 0

    @property
    def after(self) -> int:
        """How many files a compaction would leave."""
        return len(self.sizes) - len(self.small) + self.made


@dataclass(frozen=True)
class FeedFacts:
    """One feed. `change` is what became of the rows of a table's version before the current one, or why that is not
    known; None where there is no version before it, or the two are too long to be compared here.
    """

    state: FeedState
    files: FileFacts = field(default_factory=FileFacts)
    change: Differences | PipelineError | None = None


@dataclass(frozen=True)
class WarehouseFacts:
    """The warehouse's snapshots, newest data first, or why it could not be asked."""

    snapshots: tuple[SnapshotEntry, ...] = ()
    error: PipelineError | None = None


@dataclass(frozen=True)
class PageFacts:
    """`lake` has all feeds, `feeds` those that are shown one by one; `runs` are the newest first; `warehouse` is None
    where nobody asked for it.
    """

    now: dt.datetime
    lake: LakeState
    feeds: tuple[FeedFacts, ...]
    runs: tuple[RunEntry, ...] = ()
    warehouse: WarehouseFacts | None = None

    def of_type(self, feed_type: str) -> list[FeedFacts]:
        return [one for one in self.feeds if one.state.feed.type == feed_type]

    @property
    def left_out(self) -> list[FeedState]:
        """The feeds that are not shown one by one."""
        shown = {one.state.feed.name for one in self.feeds}
        return [state for state in self.lake.feeds if state.feed.name not in shown]

    def largest(self, most: int) -> PageFacts:
        """The same, with so many feeds shown one by one: those with the most rows, in the order in which they are."""
        by_rows = sorted(self.feeds, key=lambda one: -one.state.totals.row_count)
        shown = {one.state.feed.name for one in by_rows[:most]}
        return replace(self, feeds=tuple(one for one in self.feeds if one.state.feed.name in shown))


def page_facts(
    lake: Lake,
    feeds: Sequence[Feed],
    unreadable: Sequence[PipelineError],
    now: dt.datetime,
    target_bytes: int,
    warehouse: Warehouse | None = None,
) -> PageFacts:
    """All that the page shows; `warehouse` connects to it, where it is asked for."""
    found, errors, runs = list[FeedFacts](), list(unreadable), list[RunEntry]()
    for feed in feeds:
        with collected(feed.name, errors):
            found.append(_feed_facts(lake.table(feed), now, target_bytes))
    with collected("runs", errors):
        runs = lake.runs.newest(_RUNS)
    state = LakeState(str(lake), tuple(one.state for one in found), tuple(errors))
    asked = _warehouse_facts(warehouse) if warehouse is not None else None
    return PageFacts(now, state, tuple(found), tuple(runs), asked)


def _feed_facts(table: LakeTable, now: dt.datetime, target_bytes: int) -> FeedFacts:
    state = describe_feed(table)
    if state.table is None:
        return FeedFacts(state)
    groups = small_files(table, Goal(target_bytes), now)
    files = FileFacts(
        sizes=tuple(sorted(file.size_bytes for file in table.files)),
        newest=max(table.files, key=lambda file: (file.added_at, file.path)).path if table.files else None,
        small=tuple(file.size_bytes for group in groups for file in group),
        made=len(groups),
    )
    return FeedFacts(state, files, _change(table))


def _change(table: LakeTable) -> Differences | PipelineError | None:
    if table.feed.type != "table" or table.current_version is None:
        return None
    versions, current = table.versions(), table.current_version
    before = max((version for version in versions if version < current), default=None)
    if before is None or current not in versions:
        return None
    if sum(file.row_count for version in (before, current) for file in versions[version]) > _COMPARED_ROWS:
        return None
    try:
        return compare_versions(table, before, current, 0)
    except PipelineError as error:
        return error


def _warehouse_facts(connect: Warehouse) -> WarehouseFacts:
    try:
        with connect() as connection:
            return WarehouseFacts(tuple(list_snapshots(connection)))
    except PipelineError as error:
        return WarehouseFacts(error=error)
