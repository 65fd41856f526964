"""The command that compares two versions of a table. It changes nothing."""

from __future__ import annotations

import click

from commands.completion import feed_names
from commands.lake_upkeep import open_lake
from pipeline import cli, options, scripts
from pipeline.errors import WrongUsage

_VERSION = click.IntRange(1, 2**31 - 1)


@scripts.command(examples=["metadata_utils.py diff payment_method_totals 1 2"])
@click.argument("table", shell_complete=feed_names("table"))
@click.argument("from_version", metavar="V1", type=_VERSION)
@click.argument("to_version", metavar="V2", type=_VERSION)
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="Show so many rows.")
@options.json_output
def diff(table: str, from_version: int, to_version: int, limit: int, json_output: bool) -> None:
    """Compare two versions of a table by key: rows that are new, gone, or changed, with their old and new values."""
    from pipeline.report.differences import differences_json, differences_lines
    from pipeline.verify.versions import compare_versions

    lake = open_lake()[1]
    feed = lake.feeds.get_anywhere(table)
    if feed.type != "table":
        raise WrongUsage(f"{table} is a stream: it has no versions", "name a table feed")
    found = compare_versions(lake.table(feed), from_version, to_version, limit)
    cli.show(json_output, differences_json(found), differences_lines(found))


COMMANDS = (diff,)
