"""The page's tables: the result of each way, and ours compared with the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.process import Run

LABELS = {
    "load, no checks": "LOAD DATA, no checks",
    "load": "LOAD DATA",
    "sync": "toolkit: first snapshot",
    "sync, same version": "toolkit: same lake version again",
    "sync, same rows": "toolkit: same rows again",
    "sync, 5 % changed": "toolkit: next snapshot, 5 % changed",
    "upsert": "executemany upsert",
    "upsert, same rows": "executemany upsert: same rows again",
    "row and commit": "row by row",
}
_FLOOR = ("load, no checks", "load")


@dataclass(frozen=True)
class Goal:
    """`way` should be at least `factor` times as fast, in rows a second, as the fastest of `against`; by server."""

    way: str
    against: tuple[str, ...]
    factor: dict[str, float]


GOALS = (
    Goal("sync", _FLOOR, {"MySQL": 0.7, "MariaDB": 0.4}),
    Goal("sync, same rows", ("upsert, same rows",), {"MySQL": 3, "MariaDB": 3}),
    Goal("sync, 5 % changed", ("upsert, same rows",), {"MySQL": 3, "MariaDB": 3}),
    Goal("sync", ("row and commit",), {"MySQL": 30, "MariaDB": 30}),
)


@dataclass(frozen=True)
class Measured:
    """All runs on one server."""

    product: str
    version: str
    settings: str
    server_peak_bytes: int
    runs: Sequence[Run]

    def of(self, way: str) -> list[Run]:
        return [run for run in self.runs if run.way == way]


def way_rows(measured: Measured) -> list[str]:
    """A line of Markdown for each way that was run."""
    lines = []
    for way, label in LABELS.items():
        if not (runs := measured.of(way)):
            continue
        rates = [run.rate for run in runs]
        # A version that the ledger already has is not read, so it has no rate.
        shown = "" if way == "sync, same version" else f"{median(rates):,.0f}"
        spread = "" if way == "sync, same version" else f"{min(rates):,.0f} .. {max(rates):,.0f}"
        seconds, peak = median(run.seconds for run in runs), max(run.peak_bytes for run in runs)
        lines.append(
            f"| {measured.product} | {label} | {runs[0].rows:,} | {len(runs)} | {seconds:.2f} | {shown} | {spread} |"
            f" {peak / 1e6:.0f} |"
        )
    return lines


def goal_rows(measured: Measured) -> list[str]:
    """A line of Markdown for each goal whose ways were run."""
    lines = []
    for goal in GOALS:
        rates = {way: median(run.rate for run in measured.of(way)) for way in goal.against if measured.of(way)}
        if not rates or not measured.of(goal.way):
            continue
        fastest, wanted = max(rates, key=rates.__getitem__), goal.factor[measured.product]
        ratio = median(run.rate for run in measured.of(goal.way)) / rates[fastest]
        verdict = "met" if ratio >= wanted else "**below the goal**"
        lines.append(
            f"| {measured.product} | {LABELS[goal.way]} | {LABELS[fastest]} | {wanted:g} | {ratio:.2f} | {verdict} |"
        )
    return lines


def as_tables(all_measured: Sequence[Measured]) -> str:
    """Both tables, and the settings of each server."""
    servers = [
        f"- {m.product} {m.version}: {m.settings}; the server's own peak memory {m.server_peak_bytes / 1e6:,.0f} MB"
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
            "| server | this | against | goal | rows/s, as a ratio | |",
            "|---|---|---|---|---|---|",
            *(line for measured in all_measured for line in goal_rows(measured)),
        ]
    )
