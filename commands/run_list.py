"""The command that shows which commands were run on a lake. It changes nothing."""

from __future__ import annotations

import click

from commands.lake_upkeep import open_lake
from pipeline import cli, options, scripts


@scripts.command(examples=["metadata_utils.py runs --last 50 --failed"])
@click.option("--last", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Look at so many runs.")
@click.option("--failed", is_flag=True, help="Of these show only the ones that did not succeed.")
@options.json_output
def runs(last: int, failed: bool, json_output: bool) -> None:
    """List the commands that were run on this lake, newest first; killed ones too."""
    from pipeline.report import runs as report

    found = open_lake()[1].runs.newest(last)
    shown = [run for run in found if not failed or run.state not in ("ok", "running")]
    cli.show(json_output, report.runs_json(shown), report.runs_lines(shown))


COMMANDS = (runs,)
