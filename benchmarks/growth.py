"""`python -m benchmarks.growth`: the cost of a run in an old lake of eight feeds, against one in a young lake.

The old lake is made by the project's own commits, hour by hour. Commands run in their own processes, as from cron, and
their CPU is measured, with Python's start. Only a run at full size writes its table into docs/performance.md.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import duckdb

from benchmarks.old_lake import feeds, make_lake, server
from benchmarks.page import head, show_figures
from benchmarks.process import Run, run_command
from ksqldb_emulator.testing import running

_ROOT = Path(__file__).resolve().parent.parent
_YOUNG, _OLD, _QUICK = 10, 10_000, 1_000
_NEW_ROWS = 1_000


@dataclass(frozen=True)
class Figure:
    """A measured value with its unit, and the most that it may be; None where there is no goal."""

    what: str
    value: float
    unit: str
    goal: float | None

    def row(self) -> str:
        if self.goal is None:
            return f"| {self.what} | {self.value:.3g} {self.unit} | | |"
        verdict = "met" if self.value <= self.goal else "**above the goal**"
        return f"| {self.what} | {self.value:.3g} {self.unit} | {self.goal:g} | {verdict} |"


def measure(folder: Path, commits: int, rounds: int, seed: int) -> Iterator[Figure]:
    """All figures of a lake whose feeds have so many commits each, and of a young one."""
    newest = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=1)
    ages = {"young": _YOUNG, "old": commits}
    for age, count in ages.items():
        make_lake(folder / age, count, newest, seed)
    nothing = _by_turns(folder, ages, newest, 0, rounds)
    yield Figure(f"no-op `--all` of eight feeds at {commits:,} commits each", nothing["old"], "CPU-s", 2)
    yield Figure(f"the same against {_YOUNG} commits each", nothing["old"] / nothing["young"], "x", 1.2)
    rows = _by_turns(folder, ages, newest, _NEW_ROWS, rounds)
    ratio = rows["old"] / rows["young"]
    yield Figure(f"export of {_NEW_ROWS:,} rows at {commits:,} commits against at {_YOUNG}", ratio, "x", 1.2)
    stats = _command("stats", ["metadata_utils.py", "--stats"], _environment(folder / "old"), rounds)
    yield Figure(f"`--stats` of eight feeds at {commits:,} commits each", median(run.seconds for run in stats), "s", 1)
    yield Figure("bytes of the logs against bytes of the data", _log_share(folder / "old"), "x", 0.2)
    yield from _views(folder / "old", "as they are", newest, rounds, None)
    _command("compact", ["metadata_utils.py", "compact"], _environment(folder / "old"), 1)
    yield from _views(folder / "old", "compacted", newest, rounds, 0.1)


def _environment(lake: Path, url: str = "") -> dict[str, str]:
    return {"LAKE_ROOT": str(lake), "KSQLDB_URL": url, "QUIET_S": "0.5", "SNAPSHOT_RECHECK_S": "0", "STALL_S": "600"}


def _command(way: str, command: list[str], environment: dict[str, str], rounds: int) -> list[Run]:
    script, *arguments = command
    return [run_command(way, 0, [sys.executable, str(_ROOT / script), *arguments], environment) for _ in range(rounds)]


def _by_turns(folder: Path, ages: dict[str, int], newest: dt.datetime, new_rows: int, rounds: int) -> dict[str, float]:
    """CPU seconds of a run of all feeds, or of one stream that has so many new rows each time, in each lake by turns.

    The first round, in which a lake's runs see their server for the first time, is not counted.
    """
    command = ["export_to_data_lake.py", *(["--stream", feeds()[0].name] if new_rows else ["--all"])]
    taken: dict[str, list[float]] = {age: [] for age in ages}
    for done in range(rounds + 1):
        for age, commits in ages.items():
            with running(server(commits, newest, new_rows, done * new_rows)) as emulator:
                run = _command(age, command, _environment(folder / age, emulator.url), 1)[0]
            taken[age].append(run.cpu_seconds)
    return {age: median(seconds[1:]) for age, seconds in taken.items()}


def _log_share(lake: Path) -> float:
    sizes = {"log": 0, "data": 0}
    for path in (path for kind in ("streams", "tables") for path in (lake / kind).rglob("*") if path.is_file()):
        in_log = "_delta_log" in path.parts or path.name.startswith("_")
        sizes["log" if in_log else "data"] += path.stat().st_size
    return sizes["log"] / sizes["data"]


def _views(lake: Path, state: str, newest: dt.datetime, rounds: int, goal_s: float | None) -> Iterator[Figure]:
    """Seconds until `views.sql` is loaded, and of a question about one day of a stream in a session that has it."""
    text, day = (lake / "views.sql").read_text(encoding="utf-8"), newest.date() - dt.timedelta(days=2)
    question = f"SELECT count(*), sum(amount) FROM {feeds()[0].name} WHERE date = DATE '{day}'"
    loads, questions = list[float](), list[float]()
    for _ in range(rounds):
        with duckdb.connect() as connection:
            started = time.monotonic()
            connection.execute(text)
            loads.append(time.monotonic() - started)
            started = time.monotonic()
            connection.sql(question).fetchall()
            questions.append(time.monotonic() - started)
    yield Figure(f"`views.sql` of eight feeds, {state}: load", median(loads), "s", goal_s)
    yield Figure(f"`views.sql` of eight feeds, {state}: a question about one day", median(questions), "s", goal_s)


def as_table(figures: list[Figure]) -> str:
    return "\n".join(["| what | measured | at most | |", "|---|---|---|---|", *(figure.row() for figure in figures)])


@click.command()
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--commits", type=click.IntRange(_YOUNG), help="Of each feed, in place of 10,000.")
def main(rounds: int, seed: int, commits: int | None) -> None:
    """Measure the cost of a growing lake: 10,000 commits a feed; with BENCH=quick a tenth of it."""
    quick, load = os.environ.get("BENCH") == "quick", os.getloadavg()[0]
    count = commits or (_QUICK if quick else _OLD)
    figures = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for figure in measure(Path(folder), count, rounds, seed):
            figures.append(figure)
            click.echo(figure.row())
    asked = f"{'BENCH=quick ' if quick else ''}make bench-growth"
    what = f"eight feeds with {count:,} hourly commits each"
    words = head(asked, what, rounds, seed, ("deltalake", "duckdb", "pyarrow"), dt.datetime.now(dt.UTC).date(), load)
    text = f"{words}\n\n{as_table(figures)}"
    is_full = count == _OLD
    show_figures("bench-growth", text, is_full)


if __name__ == "__main__":
    main()
