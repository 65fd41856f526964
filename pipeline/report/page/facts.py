"""What the page shows, as values: the lake's state, and what only a page has beside it. Nothing is changed.

What cannot be read is said on the page and keeps nothing else from it: a feed, a file, a run, or the warehouse.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from pipeline.errors import PipelineError
from pipeline.faults import collected
from pipeline.health import FeedHealth, Health
from pipeline.lake.compaction import Goal, small_files
from pipeline.lake.lake import Lake
from pipeline.lake.metadata import FeedState
from pipeline.lake.table import LakeTable
from pipeline.progress import Progress
from pipeline.report.model import LakeState
from pipeline.run_history import History
from pipeline.verify.versions import Differences, compare_versions
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import SnapshotEntry, list_snapshots

Warehouse = Callable[[], AbstractContextManager[Connection]]
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

    health: FeedHealth
    files: FileFacts = field(default_factory=FileFacts)
    change: Differences | PipelineError | None = None

    @property
    def state(self) -> FeedState:
        return self.health.state


@dataclass(frozen=True)
class WarehouseFacts:
    """The warehouse's snapshots, newest data first, or why it could not be asked."""

    snapshots: tuple[SnapshotEntry, ...] = ()
    error: PipelineError | None = None


@dataclass(frozen=True)
class PageFacts:
    """`health` has all feeds, `feeds` those that are shown one by one; `warehouse` is None where it was not asked."""

    health: Health
    feeds: tuple[FeedFacts, ...]
    warehouse: WarehouseFacts | None = None

    @property
    def now(self) -> dt.datetime:
        return self.health.at

    @property
    def history(self) -> History:
        return self.health.history

    @property
    def lake(self) -> LakeState:
        return LakeState(self.health.root, tuple(one.state for one in self.health.feeds), self.health.errors)

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
    lake: Lake, health: Health, target_bytes: int, warehouse: Warehouse | None = None, progress: Progress | None = None
) -> PageFacts:
    """All that the page shows; `warehouse` connects to it, where it is asked for. `progress` shows the feed's turn."""
    found, errors, progress = list[FeedFacts](), list(health.errors), progress or Progress()
    for one in health.feeds:
        with progress.at(one.feed.name, "comparing"), collected(one.feed.name, errors):
            found.append(_feed_facts(one, lake.table(one.feed), health.at, target_bytes))
    asked = _warehouse_facts(warehouse) if warehouse is not None else None
    return PageFacts(replace(health, errors=tuple(errors)), tuple(found), asked)


def _feed_facts(health: FeedHealth, table: LakeTable, now: dt.datetime, target_bytes: int) -> FeedFacts:
    if not table.exists:
        return FeedFacts(health)
    groups = small_files(table, Goal(target_bytes), now)
    files = FileFacts(
        sizes=tuple(sorted(file.size_bytes for file in table.files)),
        newest=max(table.files, key=lambda file: (file.added_at, file.path)).path if table.files else None,
        small=tuple(file.size_bytes for group in groups for file in group),
        made=len(groups),
    )
    return FeedFacts(health, files, _change(table))


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
