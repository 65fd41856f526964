"""The state of the lake as `--json` and `--csv` print it: stable forms, which docs/commands.md lists."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.lake.metadata import metadata_json
from pipeline.lake.retention import partition_names
from pipeline.report.model import History, LakeState
from pipeline.text import rfc3339

if TYPE_CHECKING:  # what only their own commands import
    from pipeline.lake.compaction import Compacted, Group
    from pipeline.lake.copy import CopiedFeed, LakeCopy
    from pipeline.lake.published import Published
    from pipeline.verify.verification import Verification

_CSV_COLUMNS = ("feed", "type", "source", "rows", "bytes", "files", "partitions", "current_version", "last_commit_at",
                "description", "retention_days", "retention_versions")  # fmt: skip


def lake_json(lake: LakeState) -> dict[str, Any]:
    totals, kinds = lake.totals, {"streams": lake.stream_count, "tables": lake.table_count}
    return {
        "schema_version": 1,
        "root": lake.root,
        "totals": kinds | {"rows": totals.row_count, "bytes": totals.size_bytes, "files": totals.file_count},
        "feeds": [metadata_json(state) | {"description": state.feed.description} for state in lake.feeds],
    }


def history_json(history: History) -> dict[str, Any]:
    commits = [
        {"delta_version": commit.delta_version, "at": f"{commit.at:%Y-%m-%dT%H:%M:%SZ}", **commit.note}
        for commit in history.commits
    ]
    return {"schema_version": 1, "feed": history.feed, "commits": commits}


def verification_json(verification: Verification) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "feeds": sorted(verdict.feed.name for verdict in verification.verdicts),
        "files_read": verification.read,
        "findings": [vars(finding) for finding in verification.findings],
        "errors": [{"feed": feed, "message": error.message, "hint": error.hint} for feed, error in verification.errors],
    }


def would_compact_json(feed: str, groups: Sequence[Group]) -> dict[str, Any]:
    """As `compacted_json`, for a dry run: the size of the new files is not known."""
    files = [file for group in groups for file in group]
    return {
        "feed": feed,
        "partitions": partition_names(files),
        "rows": sum(file.row_count for file in files),
        "files": len(files),
        "bytes": sum(file.size_bytes for file in files),
        "files_after": len(groups),
        "bytes_after": None,
        "commits": 0,
    }


def compacted_json(done: Compacted) -> dict[str, Any]:
    """Of one feed."""
    after = {"files_after": len(done.made), "bytes_after": sum(file.size_bytes for file in done.made)}
    return would_compact_json(done.feed, [done.taken]) | after | {"commits": done.commits}


def compaction_json(feeds: Sequence[dict[str, Any]], errors: Sequence[PipelineError], dry_run: bool) -> dict[str, Any]:
    said = [{"message": error.message, "hint": error.hint} for error in errors]
    return {"schema_version": 1, "dry_run": dry_run, "feeds": feeds, "errors": said}


def copy_json(
    copy: LakeCopy, done: Sequence[CopiedFeed], errors: Sequence[PipelineError], behind: Sequence[str], dry_run: bool
) -> dict[str, Any]:
    """`behind` are feeds that were exported since they were copied."""
    feeds = [
        {
            "feed": one.feed,
            "delta_version": one.delta_version,
            "rows": one.totals.row_count,
            "files": one.totals.file_count,
            "bytes": one.totals.size_bytes,
            "copied_files": one.copied.file_count,
            "copied_bytes": one.copied.size_bytes,
            "fingerprint": one.fingerprint or None,
        }
        for one in done
    ]
    places = {"from": copy.source.uri().rstrip("/"), "to": copy.target.uri().rstrip("/")}
    said = [{"message": error.message, "hint": error.hint} for error in errors]
    return {"schema_version": 1, "dry_run": dry_run, **places, "feeds": feeds, "behind": list(behind), "errors": said}


def published_json(done: Sequence[Published], errors: Sequence[PipelineError]) -> dict[str, Any]:
    said = [{"message": error.message, "hint": error.hint} for error in errors]
    return {"schema_version": 1, "feeds": [vars(one) for one in done], "errors": said}


def write_csv(lake: LakeState, file: IO[str]) -> None:
    """One row a feed, after a header."""
    writer = csv.DictWriter(file, _CSV_COLUMNS)
    writer.writeheader()
    for state in lake.feeds:
        feed, table, totals = state.feed, state.table, state.totals
        writer.writerow(
            {
                "feed": feed.name,
                "type": feed.type,
                "source": feed.source,
                "rows": totals.row_count,
                "bytes": totals.size_bytes,
                "files": totals.file_count,
                "partitions": len(table.partitions) if table else 0,
                "current_version": table.current_version if table else None,
                "last_commit_at": rfc3339(table.last_commit_at) if table else None,
                "description": feed.description,
                "retention_days": feed.retention_days,
                "retention_versions": feed.retention_versions,
            }
        )
