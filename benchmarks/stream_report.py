"""The page's tables of exports: the cost of each way, and ours compared with the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.process import Run

LABELS = {
    "native": "toolkit, native decoder",
    "reference": "toolkit, decoder in Python",
    "bare": "bare calls (the floor)",
    "naive": "json and pandas",
    "dlt": "dlt, dicts",
    "many rows": "toolkit, many rows",
    "rows of 10 kB": "toolkit, rows of 10 kB",
    "rows of 10 MB": "toolkit, rows of 10 MB",
    "400 days": "toolkit, 400 days at once",
}
_MOST_BYTES = 400e6


@dataclass(frozen=True)
class Goal:
    """CPU of `against` a row, by that of `way`, is to be at least `factor`; without it, microseconds at most."""

    way: str
    against: str
    factor: float


GOALS = (
    Goal("native", "", 4),
    Goal("reference", "", 12),
    Goal("native", "bare", 0.8),
    Goal("native", "naive", 10),
    Goal("native", "dlt", 25),
    Goal("reference", "naive", 3),
    Goal("reference", "dlt", 9),
)


def way_rows(runs: Sequence[Run]) -> list[str]:
    """A line of Markdown for each way that was run."""
    lines = []
    for way, label in LABELS.items():
        if not (found := [run for run in runs if run.way == way]):
            continue
        cpu, seconds = [run.cpu_us for run in found], median(run.seconds for run in found)
        served, peak = median(run.server_cpu_seconds for run in found), max(run.peak_bytes for run in found)
        lines.append(
            f"| {label} | {found[0].rows:,} | {len(found)} | {median(cpu):.2f} | {min(cpu):.2f} .. {max(cpu):.2f} |"
            f" {seconds:.1f} | {served:.1f} | {peak / 1e6:.0f} |"
        )
    return lines


def goal_rows(runs: Sequence[Run]) -> list[str]:
    """A line of Markdown for each goal whose ways were run."""
    cpu = {way: [run.cpu_us for run in runs if run.way == way] for way in LABELS}
    lines = []
    for goal in GOALS:
        if not cpu[goal.way] or (goal.against and not cpu[goal.against]):
            continue
        ours = median(cpu[goal.way])
        found = median(cpu[goal.against]) / ours if goal.against else ours
        is_met = found >= goal.factor if goal.against else found <= goal.factor
        against = f"{LABELS[goal.against]}, as a ratio" if goal.against else "CPU us a row, at most"
        lines.append(
            f"| {LABELS[goal.way]} | {against} | {goal.factor:g} | {found:.2f} |"
            f" {'met' if is_met else '**below the goal**'} |"
        )
    return lines + _memory_rows(runs)


def _memory_rows(runs: Sequence[Run]) -> list[str]:
    peaks = {way: max((run.peak_bytes for run in runs if run.way == way), default=0) for way in LABELS}
    few, many = peaks["native"], peaks["many rows"]
    if not few or not many:
        return []
    growth = many / few
    return [
        f"| peak memory | with many rows, against the first line | 1.1 | {growth:.2f} |"
        f" {'met' if growth <= 1.1 else '**below the goal**'} |",
        f"| peak memory | MB, at most | {_MOST_BYTES / 1e6:.0f} | {many / 1e6:.0f} |"
        f" {'met' if many <= _MOST_BYTES else '**below the goal**'} |",
    ]


def as_tables(runs: Sequence[Run]) -> str:
    return "\n".join(
        [
            "| way | rows | n | CPU us a row | least .. most | seconds | server CPU s | peak MB |",
            "|---|---|---|---|---|---|---|---|",
            *way_rows(runs),
            "",
            "| this | against | goal | found | |",
            "|---|---|---|---|---|",
            *goal_rows(runs),
        ]
    )
