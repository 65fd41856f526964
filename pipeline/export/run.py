"""One run: feeds exported one after the other, each under its lock; the failure of one does not stop the others.

What happens for each feed, in this order: take its lock; remove what a killed run left; read; commit rows and progress
in one step; expire by the retention rule; rewrite `_metadata.json` and `views.sql`. Killed before the commit the lake
is as it was; killed after it, only the last two steps are missing, and the next run does them.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.errors import PipelineError, RetentionHeld, TryLater
from pipeline.export.commit import ExportResult, Run
from pipeline.export.preview import preview
from pipeline.export.replace import export_day, export_full
from pipeline.export.snapshot import export_table
from pipeline.export.stream import export_stream
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.feed_store import BrokenFeed, FeedStore, ignored
from pipeline.lake.files import NULL_PARTITION
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.upkeep import ArchivedExpiry, Upkeep, expire_archived
from pipeline.lake.writing import writing
from pipeline.source import Sources
from pipeline.text import plural, size_text


@dataclass(frozen=True)
class ExportRequest:
    """What is asked for beyond the default."""

    full: bool = False
    day: dt.date | None = None
    version: int | None = None
    dry_run: bool = False


@dataclass
class Result:
    """What became of one feed; `type` is None where the feed's file cannot be read."""

    name: str
    type: str | None
    exported: ExportResult = field(default_factory=ExportResult)
    expired: list[str] = field(default_factory=list)
    error: PipelineError | None = None
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """`ok`, `failed`, or `held`: exported, and what is past its retention waits for a person."""
        if self.error is None:
            return "ok"
        return "held" if isinstance(self.error, RetentionHeld) else "failed"


def export_feeds(
    sources: Sources,
    root: Path,
    feeds: Sequence[Feed],
    run: Run,
    request: ExportRequest,
    holder: dict[str, str],
    max_runtime_s: float | None = None,
    tell: Callable[[str], None] = cli.tell,
) -> list[Result]:
    """Exports each feed, and says what became of it as soon as it is known."""
    started, results = time.monotonic(), []
    for index, feed in enumerate(feeds):
        left = None if max_runtime_s is None else max_runtime_s - (time.monotonic() - started)
        result = Result(feed.name, feed.type)
        begun = time.monotonic()
        try:
            with contained(feed.name):
                if left is not None and left <= 0:
                    raise TryLater(f"{feed.name} was not begun: --max-runtime is over", "run the same command again")
                own = run.for_feed(index, left)
                if request.dry_run:
                    result.exported = preview(sources, LakeTable(root, feed), request.version)
                else:
                    _export(sources, root, feed, result, own, request, holder)
        except PipelineError as error:
            result.error = error
            cli.say_error(error)
        result.seconds = time.monotonic() - begun
        tell(_line(result, request))
        results.append(result)
    return results


def broken_results(broken: Sequence[BrokenFeed]) -> list[Result]:
    """Feeds whose file cannot be read: they fail, and say why."""
    for feed in broken:
        cli.say_error(feed.error)
    return [Result(feed.name, None, error=feed.error) for feed in broken]


def expire_archived_feeds(root: Path, run: Run, holder: dict[str, str]) -> list[ArchivedExpiry]:
    """What a run of all feeds does at its end: archived ones age as well. Says what went, and what could not."""
    upkeep = Upkeep(root, holder, f"{run.id}ea", run.now, run.grace_hours, run.max_expire)
    archived = expire_archived(upkeep, FeedStore(root).list(archived=True, broken=ignored))
    for past in archived:
        if past.error is not None:
            cli.say_error(past.error)
        else:
            cli.tell(f"{past.feed} (archived): expired {', '.join(past.partitions)}")
    return archived


def _export(
    sources: Sources, root: Path, feed: Feed, result: Result, run: Run, request: ExportRequest, holder: dict[str, str]
) -> None:
    with writing(root, feed, holder, run.grace_hours) as table:
        if feed.type == "table":
            export_table(sources, table, run, result.exported, request.version)
        elif request.day is not None:
            export_day(sources, table, run, result.exported, request.day)
        else:
            (export_full if request.full else export_stream)(sources, table, run, result.exported)
        if result.exported.undated_rows:
            told = plural(result.exported.undated_rows, "row")
            result.exported.notes.append(f"{told} without a date in the years 1 to 9999, in date={NULL_PARTITION}")
        result.expired = expire(table, f"{run.id}ee", run.now, run.max_expire)


def as_json(
    results: Sequence[Result], request: ExportRequest, archived: Sequence[ArchivedExpiry] = ()
) -> dict[str, Any]:
    """The stable form of `--json`."""
    return {
        "schema_version": 1,
        "dry_run": request.dry_run,
        "feeds": [
            {
                "feed": result.name,
                "type": result.type,
                "status": result.status,
                "rows": None if request.dry_run else result.exported.rows,
                "files": result.exported.files,
                "bytes": result.exported.size_bytes,
                "commits": result.exported.commits,
                "version": result.exported.version,
                "outcome": result.exported.outcome or None,
                "lag": result.exported.lag,
                "expired_partitions": result.expired,
                "notes": result.exported.notes,
                "error": _error_json(result.error),
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
        "archived": [
            {"feed": past.feed, "expired_partitions": past.partitions, "error": _error_json(past.error)}
            for past in archived
        ],
    }


def _error_json(error: PipelineError | None) -> dict[str, str] | None:
    return None if error is None else {"message": error.message, "hint": error.hint}


def summary(results: Sequence[Result], request: ExportRequest) -> str:
    """The last line for people: what stands in the lake now, and what failed."""
    failed = sum(result.status == "failed" for result in results)
    held = sum(result.status == "held" for result in results)
    if request.dry_run:
        return "Nothing was changed."
    rows = sum(result.exported.rows for result in results)
    committed = sum(result.status == "failed" and result.exported.commits > 0 for result in results)
    line = f"{plural(len(results) - failed, 'feed')} exported, {plural(rows, 'row')}"
    if failed:
        line += f", {failed} failed"
    if committed:
        line += f", {committed} of them after a commit"
    return line + (f", the retention of {plural(held, 'feed')} waits for a person" if held else "")


def _line(result: Result, request: ExportRequest) -> str:
    done = result.exported
    if result.status == "failed":
        kept = f", {plural(done.rows, 'row')} committed before" if done.commits else ""
        return f"{result.name}: failed after {result.seconds:.1f} s{kept}"
    parts = [] if request.dry_run else [plural(done.rows, "row")]
    if done.version is not None:
        parts.append(f"{'would be ' * request.dry_run}version {done.version}")
    if done.commits:
        parts.append(f"{plural(done.files, 'file')}, {size_text(done.size_bytes)}")
    parts += [part for part in (f"end: {done.outcome}" if done.outcome else "", *done.notes) if part]
    if done.lag:
        parts.append(f"the table was {plural(done.lag, 'record')} behind its sources")
    if result.expired:
        parts.append(f"expired {', '.join(result.expired)}")
    if result.status == "held":
        parts.append("nothing expired")
    return f"{result.name}: {'; '.join(parts)} ({result.seconds:.1f} s)"
