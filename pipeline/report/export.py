"""What a run of exports did: a line a feed as it ends, then a table of all, and the stable form of `--json`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import PipelineError
from pipeline.export.run import ExportRequest, FeedResult
from pipeline.lake.retention import ArchivedExpiry
from pipeline.text import UNCHANGED, as_table, moment_of, plural, rfc3339, size_text, wrapped

_NEAR = dt.timedelta(days=180)
"""So far from now a moment needs no year."""


def export_json(
    results: Sequence[FeedResult], request: ExportRequest, archived: Sequence[ArchivedExpiry] = ()
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
                "newest_event": rfc3339(newest) if (newest := _newest(result)) else None,
                "lag": result.exported.lag,
                "unreadable": dict(sorted(result.exported.unreadable.items())),
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


def _newest(result: FeedResult) -> dt.datetime | None:
    """The newest ROWTIME that was written; None where there is none, or no date has it."""
    newest = result.exported.newest_ms
    return None if newest is None else moment_of(newest)


def _error_json(error: PipelineError | None) -> dict[str, str] | None:
    return None if error is None else {"message": error.message, "hint": error.hint}


def export_lines(results: Sequence[FeedResult], request: ExportRequest, now: dt.datetime) -> list[str]:
    """A table with a line a feed, what is to be said of some feeds below it, and the last line."""
    if request.dry_run or not results:
        return [export_text(results, request)]
    head = ["feed", "rows", "files", "size", "newest UTC", "end", "s"]
    table = as_table([_cells(result, now) for result in results], head, right={1, 2, 3, 6})
    below = [wrapped(line) for result in results for line in _remarks(result)]
    return [line for part in (table, *below, wrapped(export_text(results, request))) for line in part.splitlines()]


def _cells(result: FeedResult, now: dt.datetime) -> list[str]:
    done, newest = result.exported, _newest(result)
    read = f"v{done.version}" if done.version is not None else done.outcome
    is_near = newest is not None and abs(now - newest) < _NEAR
    return [
        result.name,
        f"{done.rows:,}",
        f"{done.files:,}",
        size_text(done.size_bytes),
        "" if newest is None else f"{newest:%m-%d %H:%M}" if is_near else str(newest.date()),
        "failed" if result.status == "failed" else read,
        f"{result.seconds:.1f}",
    ]


def _remarks(result: FeedResult) -> Iterator[str]:
    if result.expired:
        yield f"{result.name}: expired {', '.join(result.expired)}"
    for note in result.exported.notes:
        yield f"{result.name}: {note}"


def export_text(results: Sequence[FeedResult], request: ExportRequest) -> str:
    """The last line for people: what stands in the lake now, and what failed."""
    failed = sum(result.status == "failed" for result in results)
    held = sum(result.status == "held" for result in results)
    if request.dry_run:
        return UNCHANGED
    rows = sum(result.exported.rows for result in results)
    committed = sum(result.status == "failed" and result.exported.commits > 0 for result in results)
    line = f"{plural(len(results) - failed, 'feed')} exported, {plural(rows, 'row')}"
    if failed:
        line += f", {failed} failed"
    if committed:
        line += f", {committed} of them after a commit"
    return line + (f", the retention of {plural(held, 'feed')} waits for a person" if held else "")


def result_text(result: FeedResult, request: ExportRequest) -> str:
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


def archived_text(past: ArchivedExpiry) -> str:
    """What went of an archived feed."""
    return f"{past.feed} (archived): expired {', '.join(past.partitions)}"
