"""What a run of exports did: a line a feed, a last line, and the stable form of `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import PipelineError
from pipeline.export.run import ExportRequest, FeedResult
from pipeline.lake.retention import ArchivedExpiry
from pipeline.text import UNCHANGED, plural, size_text


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


def _error_json(error: PipelineError | None) -> dict[str, str] | None:
    return None if error is None else {"message": error.message, "hint": error.hint}


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
