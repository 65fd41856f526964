"""How the lake is: lines for people, and the stable form of `--json`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pipeline.health import FeedHealth, Health
from pipeline.lake.runs import RunEntry
from pipeline.run_history import Proof
from pipeline.text import as_table, rfc3339, size_text, wrapped


def health_json(health: Health) -> dict[str, Any]:
    history = health.history
    return {
        "schema_version": 1,
        "at": rfc3339(health.at),
        "root": health.root,
        "healthy": health.is_well,
        "problems": [vars(problem) | {"feed": problem.feed or None} for problem in health.problems],
        "feeds": [_feed_json(health, one) for one in health.feeds],
        "free_bytes": health.space.free_bytes,
        "min_free_bytes": health.min_free_bytes,
        "last_run": _run_json(history.last_run),
        "last_verify": _proof_json(history.proofs.get("files")),
        "last_verify_of_new": _proof_json(history.proofs.get("new files")),
        "errors": [{"message": error.message, "hint": error.hint} for error in health.errors],
    }


def health_lines(health: Health) -> list[str]:
    """A line a feed, then what a person has to see to."""
    rows = [
        [
            one.feed.name,
            age_text(health.at, one.exported_at),
            age_text(health.at, one.newest_at),
            f"{one.judged_rows:,}",
            "" if one.lag_rows is None else f"{one.lag_rows:,}",
            state_text(health, one),
        ]
        for one in health.feeds
    ]
    lines = [as_table(rows, ["feed", "exported", "newest row", "rows", "lag", ""], right={1, 2, 3, 4})] if rows else []
    if health.space.free_bytes is not None:
        lines.append(f"{size_text(health.space.free_bytes)} free where the lake is")
    if orphans := sum(one.orphans.file_count for one in health.feeds):
        size = sum(one.orphans.size_bytes for one in health.feeds)
        lines.append(f"{orphans} files ({size_text(size)}) of no commit; the next export of their feeds removes them")
    last = health.history.proofs.get("files")
    lines.append(f"verified as a whole: {f'{last.at:%Y-%m-%d %H:%M} UTC' if last else 'not within three months'}")
    problems = problems_text(health)
    return [*lines, "problems:", *problems] if problems else [*lines, "nothing is wrong" * (not health.errors)]


def state_text(health: Health, one: FeedHealth) -> str:
    """`ok`, `wrong`, or `off` for a feed that is not exported."""
    return "off" if not one.feed.enabled else "wrong" if health.problems_of(one.feed.name) else "ok"


def problems_text(health: Health) -> list[str]:
    """A line, or a few, for each problem."""
    return [
        wrapped(f"{f'{problem.feed}: ' if problem.feed else ''}{problem.what}: {problem.detail}", indent="  ")
        for problem in health.problems
    ]


def age_text(now: dt.datetime, moment: dt.datetime | None) -> str:
    """`14.4 h ago`, `3 days ago`, `never`."""
    if moment is None:
        return "never"
    hours = (now - moment).total_seconds() / 3600
    return f"{hours:,.1f} h ago" if hours < 48 else f"{hours / 24:,.0f} days ago"


def _feed_json(health: Health, one: FeedHealth) -> dict[str, Any]:
    feed, totals = one.feed, one.state.totals
    return {
        "feed": feed.name,
        "type": feed.type,
        "enabled": feed.enabled,
        "healthy": not health.problems_of(feed.name),
        "exported_at": rfc3339(one.exported_at) if one.exported_at else None,
        "newest_at": rfc3339(one.newest_at) if one.newest_at else None,
        "max_age_hours": feed.max_age_hours,
        "rows": totals.row_count,
        "bytes": totals.size_bytes,
        "files": totals.file_count,
        "judged_rows": one.judged_rows,
        "min_rows": one.min_rows,
        "lag_rows": one.lag_rows,
        "orphan_files": one.orphans.file_count,
        "orphan_bytes": one.orphans.size_bytes,
        "error": dict(one.error) if one.error else None,
    }


def _run_json(run: RunEntry | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "run": run.id,
        "command": run.command,
        "begun_at": rfc3339(run.begun_at),
        "seconds": run.seconds,
        "state": run.state,
        "exit_code": run.exit_code,
    }


def _proof_json(proof: Proof | None) -> dict[str, Any] | None:
    if proof is None:
        return None
    return {"at": rfc3339(proof.at), "findings": len(proof.findings), "errors": len(proof.errors)}
