"""`python -m demo.dataset --out FILE`: writes the demo's data set for the emulator."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from demo.definitions import Pipeline
from demo.events import generate
from ksqldb_emulator.dataset import Dataset


def build_demo(transactions: int, end: dt.date, seed: int, arriving: int = 0, over_s: float = 30.0) -> Dataset:
    """The data set; the last `arriving` events become visible one by one in the server's first `over_s` seconds."""
    pipeline = Pipeline()
    events = list(generate(transactions, end, seed))
    for index, event in enumerate(events):
        late = index - (len(events) - arriving)
        pipeline.add(event, at_s=over_s * (late + 1) / arriving if late >= 0 else 0.0)
    return pipeline.dataset()


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--transactions", default=5000, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--end-date", type=click.DateTime(["%Y-%m-%d"]), help="Last day of the 14; default: today, UTC.")
@click.option("--arriving", default=0, show_default=True, help="So many events arrive while the server runs.")
@click.option("--over", "over_s", default=30.0, show_default=True, help="Seconds in which they arrive.")
def main(out: Path, transactions: int, seed: int, end_date: dt.datetime | None, arriving: int, over_s: float) -> None:
    """Write the demo's events, and all records that the pipeline derives from them, as a data set of the emulator."""
    end = end_date.date() if end_date else dt.datetime.now(dt.UTC).date()
    dataset = build_demo(transactions, end, seed, arriving, over_s)
    dataset.save(out)
    rows = sum(len(source.records) for source in dataset.sources)
    click.echo(f"{out}: {len(dataset.sources)} streams and tables, {rows:,} records from {transactions:,} transactions")


if __name__ == "__main__":
    main()
