"""`python -m torture`: every promise of reliability, tried until it breaks; the result is a table anyone can reproduce.

Takes a few minutes, with TORTURE=full most of an hour, and writes its table into docs/reliability.md. Exits 1 when a
promise is broken.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click

from torture.answers import cut_answers
from torture.broken_places import broken_places
from torture.crash_points import every_crash_point
from torture.exports import many_at_once, random_kills
from torture.figures import Figure
from torture.loads import killed_loads
from torture.odd_sources import odd_sources

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
_START, _END = "<!-- figures: written by the command -->", "<!-- end of figures -->"


def experiments(full: bool, seed: int) -> list[Callable[[Path], Figure]]:
    return [
        lambda folder: random_kills(folder, 1000 if full else 40, seed),
        lambda folder: every_crash_point(folder, 1 if full else 9),
        lambda _: cut_answers(1000 if full else 200, 1 if full else 13),
        lambda folder: many_at_once(folder, 16, 20 if full else 2),
        lambda folder: killed_loads(folder, 200 if full else 15, seed),
        lambda folder: odd_sources(folder, full),
        lambda folder: broken_places(folder, full),
    ]


def as_table(figures: list[Figure], full: bool, seed: int, day: dt.date) -> str:
    """The page's table, with what is needed to repeat it."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("deltalake", "pyarrow", "duckdb", "mysql-connector-python")
    )
    lines = [
        f"{day}, `{'TORTURE=full ' if full else ''}make torture`, seed {seed}, Python {platform.python_version()}, "
        f"{packages}, {os.cpu_count()} cores.",
        "",
        "| # | experiment | tried | wrong | details |",
        "|---|---|---|---|---|",
    ]
    for figure in figures:
        wrong = ", ".join(f"{count} {what}" for what, count in sorted(figure.wrong.items()))
        lines.append(
            f"| {figure.name} | {figure.experiment} | {figure.tried:,} {figure.unit} | {wrong} | {figure.told} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--seed", default=1, show_default=True)
def main(seed: int) -> None:
    """Try every promise of reliability until it breaks. TORTURE=full tries each of them far more often."""
    full = os.environ.get("TORTURE") == "full"
    figures = []
    for experiment in experiments(full, seed):
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            figure = experiment(Path(folder))
        figures.append(figure)
        state = "holds" if figure.holds else "BROKEN"
        click.echo(f"{figure.name} {state}: {figure.experiment}: {figure.tried:,} {figure.unit} in {figure.seconds} s")
        click.echo(f"   {figure.wrong}; {figure.told}")
        for example in figure.examples if not figure.holds else ():
            click.echo(f"   {example}")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_START)
    after = rest.partition(_END)[2]
    table = as_table(figures, full, seed, dt.datetime.now(dt.UTC).date())
    PAGE.write_text(f"{before}{_START}\n\n{table}\n\n{_END}{after}", encoding="utf-8")
    raise SystemExit(0 if all(figure.holds for figure in figures) else 1)


if __name__ == "__main__":
    main()
