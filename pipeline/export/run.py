"""One run: feeds exported side by side, each under its lock; the failure of one does not stop the others.

While one feed waits, for its quiet time or for the second read of a snapshot, the next one reads.

The steps for each feed, in this order: take its lock; remove what a killed run left; read; commit rows and bookmarks in
one step; expire by the retention rule; compact and cool older
dates, if that is set; rewrite `_metadata.json` and `views.sql`. A kill before
the commit leaves the lake as it was; after a later kill the next run does the missing steps.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.errors import PipelineError, RetentionHeld, TryLater
from pipeline.export.commit import ExportResult, Run
from pipeline.export.preview import preview
from pipeline.export.replace import export_day, export_full
from pipeline.export.snapshot import export_table
from pipeline.export.stream import export_stream
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.cold import cool
from pipeline.lake.compaction import Compacted, compact_part
from pipeline.lake.feed_store import BrokenFeed
from pipeline.lake.files import NULL_PARTITION
from pipeline.lake.lake import Lake, Upkeep
from pipeline.lake.names import name_of_act
from pipeline.lake.retention import ArchivedExpiry, expire, expire_archived
from pipeline.lake.table import LakeTable
from pipeline.source import Sources
from pipeline.text import plural
from pipeline.turns import Turns, side_by_side


@dataclass(frozen=True)
class ExportRequest:
    """The options of an export."""

    full: bool = False
    day: dt.date | None = None
    version: int | None = None
    max_runtime_s: float | None = None
    allow_shrink: bool = False
    accept_gap: bool = False
    dry_run: bool = False


@dataclass
class FeedResult:
    """The result for one feed; `type` is None where the feed's file cannot be read."""

    name: str
    type: str | None
    exported: ExportResult = field(default_factory=ExportResult)
    expired: list[str] = field(default_factory=list)
    error: PipelineError | None = None
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """`ok`, `failed`, or `held`: exported, but an expiry waits for a person's confirmation."""
        if self.error is None:
            return "ok"
        return "held" if isinstance(self.error, RetentionHeld) else "failed"


@dataclass(frozen=True)
class Exported:
    """What a run of feeds came to. `away` is why nothing could be read, where that is so."""

    results: list[FeedResult] = field(default_factory=list)
    archived: Sequence[ArchivedExpiry] = ()
    away: PipelineError | None = None

    @property
    def errors(self) -> list[PipelineError]:
        return [*self.unsaid, *(result.error for result in self.results if result.type and result.error)]

    @property
    def unsaid(self) -> list[PipelineError]:
        """Those that nobody has heard of: of what was no export of a feed."""
        broken = [result.error for result in self.results if result.type is None]
        found = [self.away, *broken, *(past.error for past in self.archived)]
        return [error for error in found if error is not None]


def export_feeds(
    sources: Sources,
    lake: Lake,
    feeds: Sequence[Feed],
    run: Run,
    request: ExportRequest,
    holder: dict[str, str],
    tell: Callable[[FeedResult], None],
) -> list[FeedResult]:
    """Exports each feed, `run.jobs` at once; `tell` gets each result, in the feeds' order, as soon as possible.

    Feeds take turns at scans of the server, and give their turn back while they wait.
    """
    started = time.monotonic()
    tables = [index for index, feed in enumerate(feeds) if feed.type == "table"]  # these have the longest pauses
    turns = Turns(run.scans, first=[feeds[index].name for index in tables[: run.jobs]])  # these begin immediately

    def export(index: int) -> FeedResult:
        left = None if request.max_runtime_s is None else request.max_runtime_s - (time.monotonic() - started)
        own = turns.of(feeds[index].name)
        policy = replace(run.policy, sleep=own.pause, tell=run.tell)
        shared = replace(run, policy=policy, limits=replace(run.limits, turns=own)).for_feed(index, left)
        try:
            with sources.apart() as apart, run.progress.at(feeds[index].name, "waiting"):
                return _export_contained(apart, lake, feeds[index], shared, request, holder)
        finally:
            own.give_way()

    results = list[FeedResult]()
    tasks = [functools.partial(export, index) for index in range(len(feeds))]
    with (
        contextlib.closing(run.engine),
        contextlib.closing(side_by_side(tasks, run.jobs, turns.stop, tables)) as exported,
    ):
        for result in exported:
            tell(result)
            results.append(result)
    return results


def _export_contained(
    sources: Sources, lake: Lake, feed: Feed, run: Run, request: ExportRequest, holder: dict[str, str]
) -> FeedResult:
    result, begun = FeedResult(feed.name, feed.type), time.monotonic()
    try:
        with contained(feed.name):
            if run.limits.over:
                raise TryLater(f"{feed.name} was not begun: --max-runtime is over", "run the same command again")
            if request.dry_run:
                result.exported = preview(sources, lake.table(feed), request.version, request.full, request.day)
            else:
                _export(sources, lake, feed, result, run, request, holder)
    except PipelineError as error:
        result.error = error
    result.seconds = time.monotonic() - begun
    return result


def broken_results(broken: Sequence[BrokenFeed]) -> list[FeedResult]:
    """The results of feeds whose file cannot be read: failed."""
    return [FeedResult(feed.name, None, error=feed.error) for feed in broken]


def expire_archived_feeds(lake: Lake, run: Run, holder: dict[str, str]) -> list[ArchivedExpiry]:
    """Expires archived feeds, at the end of a run of all feeds."""
    upkeep = Upkeep(lake, holder, name_of_act(run.id, "expire archived"), run.now, run.max_expire)
    return expire_archived(upkeep, lake.feeds.list(archived=True).feeds, run.progress)


def _export(
    sources: Sources,
    lake: Lake,
    feed: Feed,
    result: FeedResult,
    run: Run,
    request: ExportRequest,
    holder: dict[str, str],
) -> None:
    with lake.writing(feed, holder) as table, contextlib.ExitStack() as more:
        kept = more.enter_context(lake.writing(feed.of_unreadable(), holder)) if feed.keep_unreadable else None
        if feed.type == "table":
            export_table(sources, table, run, result.exported, request.version)
        elif request.day is not None:
            export_day(sources, table, run, result.exported, request.day)
        elif request.full:
            export_full(sources, table, run, result.exported, kept)
        else:
            export_stream(sources, table, run, result.exported, kept)
        if result.exported.undated_rows:
            undated = plural(result.exported.undated_rows, "row")
            result.exported.notes.append(f"{undated} without a date in the years 1 to 9999, in date={NULL_PARTITION}")
        result.expired = expire(table, name_of_act(run.id, "expire"), run.now, run.max_expire)
        _compact(table, run, result.exported)
        _cool(table, run, result.exported)
        if kept is not None:
            expire(kept, name_of_act(run.id, "expire"), run.now, run.max_expire, beside=table)


def _has_time(run: Run) -> bool:
    return run.limits.deadline is None or time.monotonic() < run.limits.deadline


def _cool(table: LakeTable, run: Run, exported: ExportResult) -> None:
    """Puts older dates into the colder class while there is time; the next run does the rest."""
    count = cool(table, run.now, lambda: _has_time(run))
    if count:
        exported.notes.append(f"{plural(count, 'file')} of older dates put into {table.store.cold_class}")


def _compact(table: LakeTable, run: Run, exported: ExportResult) -> None:
    """Compacts in at most one commit, and not when the time is over, so that a run's time depends on its new rows."""
    if run.compact is None or not _has_time(run):
        return
    done = Compacted(table.feed.name)
    compact_part(table, run.compact, name_of_act(run.id, "compact"), run.now, done)
    if done.taken:
        exported.notes.append(f"{plural(len(done.taken), 'small file')} became {len(done.made)}")
    exported.notes += [damage.message for damage in done.refused.values()]
