"""`python -m tests.torture`: every promise of reliability, tried until it breaks; the result can be reproduced.

Takes some minutes, with TORTURE=full some hours, and writes its table into docs/reliability.md, a row as soon
as it is known. Exits 1 when a promise is broken.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.torture.answers import cut_answers
from tests.torture.broken_places import broken_places
from tests.torture.bucket_kills import bucket_kills
from tests.torture.changed_cells import changed_cells
from tests.torture.clocks import wild_clocks
from tests.torture.crash_points import every_crash_point
from tests.torture.dying_nodes import dying_nodes
from tests.torture.exports import many_at_once, random_kills
from tests.torture.figures import Figure
from tests.torture.loads import killed_loads
from tests.torture.lying_stores import lying_stores
from tests.torture.odd_sources import odd_sources
from tests.torture.page import write_row
from tests.torture.power_loss import power_loss
from tests.torture.three_ways import three_ways
from tests.torture.two_ways import two_ways
from tests.torture.values import generated_values

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reliability.md"


def experiments(full: bool, seed: int) -> dict[str, Callable[[Path], Figure]]:
    return {
        "F1": lambda folder: random_kills(folder, 1000 if full else 40, seed),
        "F1-S3": lambda folder: random_kills(folder, 1000 if full else 20, seed, "bucket"),
        "F2": lambda folder: every_crash_point(folder, 1 if full else 9),
        "F3": lambda _: cut_answers(1000 if full else 200, 1 if full else 13),
        "F4": lambda folder: power_loss(folder, 1 if full else 7, seed),
        "F5": lambda folder: many_at_once(folder, 16, 20 if full else 2),
        "F5-S3": lambda folder: many_at_once(folder, 16, 20 if full else 2, "bucket"),
        "F6": lambda folder: killed_loads(folder, 200 if full else 15, seed),
        "F7": lambda folder: generated_values(folder, 100_000 if full else 10_000, seed),
        "F8": lambda folder: odd_sources(folder, full),
        "F9": lambda folder: broken_places(folder, full),
        "F10": lambda folder: two_ways(folder, 500 if full else 40, seed, readers_every=4),
        "F11": lambda folder: lying_stores(folder, 10_000 if full else 600, seed),
        "F12": lambda folder: wild_clocks(folder, 300 if full else 40, seed),
        "F13": lambda folder: dying_nodes(folder, 200 if full else 24, seed),
        "F14": lambda folder: bucket_kills(folder, 1 if full else 17, 16 if full else 4),
        "F15": lambda folder: three_ways(folder, 100 if full else 12, seed),
        "F16": lambda folder: changed_cells(folder, 10_000 if full else 1000, seed),
    }


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--only", multiple=True, metavar="F", help="Only this figure (repeatable); the page keeps the others.")
def main(seed: int, only: tuple[str, ...]) -> None:
    """Try every promise of reliability until it breaks. TORTURE=full tries each of them far more often."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    full, holds = os.environ.get("TORTURE") == "full", True
    for name, experiment in experiments(full, seed).items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            figure = experiment(Path(folder))
        state = "holds" if figure.holds else "BROKEN"
        click.echo(f"{figure.name} {state}: {figure.experiment}: {figure.tried:,} {figure.unit} in {figure.seconds} s")
        click.echo(f"   {figure.wrong}; {figure.details}")
        for example in figure.examples if not figure.holds else ():
            click.echo(f"   {example}")
        write_row(PAGE, figure, full, seed, dt.datetime.now(dt.UTC).date())
        holds = holds and figure.holds
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
