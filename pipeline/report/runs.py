"""The commands that were run on a lake, as text and as JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from pipeline.lake.runs import RunEntry
from pipeline.text import as_table, rfc3339, wrapped


def runs_json(runs: Sequence[RunEntry]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "runs": [
            {
                "run": run.id,
                "command": run.command,
                "begun_at": rfc3339(run.begun_at),
                "ended_at": rfc3339(run.ended_at) if run.ended_at else None,
                "seconds": run.seconds,
                "state": run.state,
                "exit_code": run.exit_code,
                "rows": rows_of(run),
                "errors": [dict(error) for error in run.errors],
                "result": run.result,
                "said": list(run.said),
                "alerted_at": rfc3339(run.alert.at) if run.alert else None,
            }
            for run in runs
        ],
    }


def runs_lines(runs: Sequence[RunEntry]) -> list[str]:
    """One line a run; below the table the errors of runs that failed."""
    if not runs:
        return ["no runs are recorded"]
    table = as_table([_cells(run) for run in runs], ["begun (UTC)", "took", "state", "rows", "command"], right={1, 3})
    reasons = [
        wrapped(f"{run.begun_at:%Y-%m-%d %H:%M} UTC {error['message']}", indent="  ")
        for run in runs
        for error in run.errors
    ]
    return [table, *(["errors:", *reasons] if reasons else [])]


def rows_of(run: RunEntry) -> int | None:
    """The rows that an export committed; None for other commands."""
    feeds = run.result.get("feeds") if isinstance(run.result, dict) else None
    counts = [feed.get("rows") for feed in feeds if isinstance(feed, dict)] if isinstance(feeds, list) else []
    return sum(count for count in counts if isinstance(count, int)) if counts else None


def _cells(run: RunEntry) -> list[str]:
    took = "" if run.seconds is None else str(dt.timedelta(seconds=round(run.seconds)))
    rows = rows_of(run)
    return [
        f"{run.begun_at:%Y-%m-%d %H:%M}",
        took,
        run.state,
        "" if rows is None else f"{rows:,}",
        run.command.replace(".py", "", 1),
    ]
