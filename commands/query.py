"""The command that answers SQL over the lake. It changes nothing."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from pathlib import Path

import click

from commands.lake_upkeep import open_lake
from pipeline import cli, options, scripts
from pipeline.errors import WrongUsage


@scripts.command(
    "sql",
    examples=[
        'metadata_utils.py sql "SELECT count(*) FROM transaction_stream"',
        'metadata_utils.py sql "FROM rates_current" --at-version 3 --format csv',
        'metadata_utils.py sql "FROM rates_current" --as-of 2026-11-24',
    ],
)
@click.argument("query", metavar="SELECT")
@click.option("--at-version", type=click.IntRange(1, 2**31 - 1), help="Of tables: NAME_current shows this version.")
@click.option("--as-of", type=options.Moment(), help="What was committed at that time, in UTC: 2026-11-24T06:00:00Z.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Of the answer. A table is cut to the width of a terminal; elsewhere it is whole.",
)
def run_sql(query: str, at_version: int | None, as_of: dt.datetime | None, form: str) -> None:
    """Answer one SELECT over the lake by DuckDB: a stream is the view NAME, a table NAME_current and NAME_history."""
    from pipeline.query import When, answering
    from pipeline.report.query import write_csv, write_json

    if at_version is not None and as_of is not None:
        raise WrongUsage("--at-version and --as-of exclude each other", "give one of them")
    lake = open_lake()[1]
    with answering(lake, query, When(at_version, as_of)) as answer, cli.output_file(Path("-")) as file:
        if form == "table":
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            file.write(f"{answer.table(width)}\n")
        else:
            (write_csv if form == "csv" else write_json)(answer, file)


COMMANDS = (run_sql,)
