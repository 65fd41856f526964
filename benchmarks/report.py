"""The page's tables: what each way did, and how ours stands against the goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.runs import Run

TOLD = {
    "load, no checks": "bare LOAD DATA LOCAL, unique and foreign key checks off: the floor",
    "load": "bare LOAD DATA LOCAL",
    "sync": "this toolkit, first snapshot",
    "sync, same version": "this toolkit, the same lake version again: known, nothing is read",
    "sync, same rows": "this toolkit, the same rows again, as from ksqlDB: known by their hash",
    "sync, 5 % changed": "this toolkit, a new snapshot with 5 % of the rows changed",
    "upsert": "executemany of INSERT ... ON DUPLICATE KEY UPDATE",
    "upsert, same rows": "that executemany again, the same rows",
    "row and commit": "INSERT and COMMIT row by row",
}


@dataclass(frozen=True)
class Goal:
    """`way` is to be at least `factor` times as fast, in rows a second, as `against`; factors by product."""

    way: str
    against: str
    factor: dict[str, float]


GOALS = (
    Goal("sync", "load, no checks", {"MySQL": 0.7, "MariaDB": 0.4}),
    Goal("sync, same rows", "upsert, same rows", {"MySQL": 3, "MariaDB": 3}),
    Goal("sync, 5 % changed", "upsert, same rows", {"MySQL": 3, "MariaDB": 3}),
    Goal("sync", "row and commit", {"MySQL": 30, "MariaDB": 30}),
)


@dataclass(frozen=True)
class Measured:
    """All runs on one server."""

    product: str
    version: str
    settings: str
    server_peak_bytes: int
    runs: Sequence[Run]

    def rates(self, way: str) -> list[float]:
        """Rows a second, one a round."""
        return [run.rows / run.seconds for run in self.runs if run.way == way]


def way_rows(measured: Measured) -> list[str]:
    """A line of Markdown for each way."""
    lines = []
    for way, told in TOLD.items():
        runs, rates = [run for run in measured.runs if run.way == way], measured.rates(way)
        if not runs:
            continue
        rate = f"{statistics.median(rates):,.0f} | {min(rates):,.0f} .. {max(rates):,.0f}"
        seconds = statistics.median(run.seconds for run in runs)
        lines.append(
            f"| {measured.product} | {told} | {runs[0].rows:,} | {len(runs)} | {seconds:.2f} |"
            f" {'- | -' if way == 'sync, same version' else rate} | {max(run.peak_bytes for run in runs) / 1e6:.0f} |"
        )
    return lines


def goal_rows(measured: Measured) -> list[str]:
    """A line of Markdown for each goal whose two ways were run."""
    lines = []
    for goal in GOALS:
        ours, theirs = measured.rates(goal.way), measured.rates(goal.against)
        if not ours or not theirs:
            continue
        ratio, wanted = statistics.median(ours) / statistics.median(theirs), goal.factor[measured.product]
        verdict = "met" if ratio >= wanted else "**below the goal**"
        lines.append(
            f"| {measured.product} | {TOLD[goal.way]} | {TOLD[goal.against]} | {wanted:g} | {ratio:.2f} | {verdict} |"
        )
    return lines


def as_tables(all_measured: Sequence[Measured]) -> str:
    """Both tables, and what each server was set to."""
    servers = [
        f"- {m.product} {m.version}, {m.settings}; its own peak memory: {m.server_peak_bytes / 1e6:,.0f} MB"
        for m in all_measured
    ]
    return "\n".join(
        [
            *servers,
            "",
            "| server | way | rows | n | seconds | rows/s | least .. most | client MB |",
            "|---|---|---|---|---|---|---|---|",
            *(line for measured in all_measured for line in way_rows(measured)),
            "",
            "| server | this | against | goal | ratio of rows/s | |",
            "|---|---|---|---|---|---|",
            *(line for measured in all_measured for line in goal_rows(measured)),
        ]
    )
