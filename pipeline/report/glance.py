"""The lake at a glance: what each feed has and how fresh it is, what is wrong, and the last runs."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.health import FeedHealth, Health
from pipeline.lake.runs import RunEntry
from pipeline.report.health import age_text, problems_text, state_text
from pipeline.report.model import LakeState
from pipeline.report.text import kinds_text
from pipeline.text import as_table, size_text, wrapped

_LOOK_BACK = 100


def glance_lines(health: Health) -> list[str]:
    """A line a feed and the totals, then what a person has to see to, the last run and the last error."""
    lake = LakeState(health.root, tuple(one.state for one in health.feeds))
    totals = [f"{lake.totals.row_count:,}", size_text(lake.totals.size_bytes)]
    lines = [f"Data lake {health.root} at {health.at:%Y-%m-%d %H:%M} UTC", ""]
    if health.feeds:
        rows = [_cells(health, one) for one in health.feeds]
        head = ["feed", "rows", "size", "newest row", "limit", ""]
        lines += [as_table(rows, head, {1, 2, 3, 4}, [kinds_text(lake), *totals, "", "", ""]), ""]
    if health.problems:
        lines += ["problems:", *problems_text(health), ""]
    if health.space.free_bytes is not None:
        lines.append(f"{size_text(health.space.free_bytes)} free where the lake is")
    lines += _run_lines(health.history.runs[:_LOOK_BACK])
    return [*lines, "more: metadata_utils.py --stats, --report, health, runs; all of it: --help"]


def _cells(health: Health, one: FeedHealth) -> list[str]:
    totals, limit_hours = one.state.totals, one.feed.max_age_hours
    return [
        one.feed.name,
        f"{totals.row_count:,}",
        size_text(totals.size_bytes),
        age_text(health.at, one.newest_at),
        "" if limit_hours is None else f"{limit_hours:,} h",
        state_text(health, one),
    ]


def _run_lines(newest_first: Sequence[RunEntry]) -> list[str]:
    lines = list[str]()
    for run in newest_first:
        at = f"{run.begun_at:%Y-%m-%d %H:%M} UTC"
        if not lines:
            lines.append(wrapped(f"last run: {at} {run.command}: {run.state}"))
        if run.errors:
            return [*lines, wrapped(f"last error: {at} {run.errors[0].get('message', '')}")]
    return lines or ["last run: none yet; python export_to_data_lake.py --all is the first"]
