"""What is known of the lake as `--json` and `--csv` print it: stable forms, which docs/commands.md lists."""

from __future__ import annotations

import csv
from typing import IO, Any

from pipeline.lake.metadata import metadata_json, rfc3339
from pipeline.report.model import History, LakeState
from pipeline.verify.verification import Verification

_CSV_COLUMNS = ("feed", "type", "source", "rows", "bytes", "files", "partitions", "current_version", "last_commit_at")


def lake_json(lake: LakeState) -> dict[str, Any]:
    return {"schema_version": 1, "root": lake.root, "feeds": [metadata_json(state) for state in lake.feeds]}


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
        "findings": [vars(finding) for finding in verification.findings],
        "errors": [{"feed": feed, "message": error.message, "hint": error.hint} for feed, error in verification.errors],
    }


def write_csv(lake: LakeState, file: IO[str]) -> None:
    """One row a feed, under a head."""
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
            }
        )
