#!/usr/bin/env python
"""Shows, verifies and maintains what is in the lake.

Sizes and counts come from the Delta logs. Reading commands change nothing. The others make one commit a feed: a kill
before it changes nothing; after a kill behind it the next run rewrites `_metadata.json` and `views.sql`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

from pathlib import Path
from typing import Any

import click

from commands import (
    alerting,
    comparison,
    health,
    lake_compaction,
    lake_copy,
    lake_page,
    lake_publish,
    lake_upkeep,
    query,
    run_list,
)
from commands.completion import feed_names
from commands.lake_upkeep import open_lake
from pipeline import cli, options, scripts
from pipeline.errors import WrongUsage


@click.group(
    cls=scripts.Group,
    invoke_without_command=True,
    groups={
        "In numbers": ("--stats", "--report", "--csv", "--json"),
        "A page to look at": ("--html", "--lang", "--warehouse"),
    },
    examples=["metadata_utils.py", "metadata_utils.py --report", "metadata_utils.py --html lake.html"],
)
@click.option("--stats", is_flag=True, help="Rows, sizes, retention and descriptions, with totals.")
@click.option("--report", is_flag=True, help="A block a feed, with partitions and bookmarks.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write the numbers to FILE (- is stdout).")
@options.json_output
@lake_page.page_options
@click.pass_context
def main(
    context: click.Context, /, stats: bool, report: bool, csv_file: Path | None, json_output: bool, **page: Any
) -> None:
    """Show the lake at a glance, or report what is in it.

    Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later.
    """
    if options.handed_on(context):
        return
    if stats + report + json_output + (csv_file == Path("-")) > 1:
        raise WrongUsage("--stats, --report, --json and --csv - exclude each other on stdout", "give one of them")
    if lake_page.is_asked_for(**page):
        if stats or report or json_output or csv_file:
            raise WrongUsage("--html excludes --stats, --report, --json and --csv", "give one of them")
        lake_page.write_page(**page)
    if not (stats or report or json_output or csv_file):
        health.show_glance()
    from pipeline.report import json_forms, model, text
    from pipeline.text import plural

    lake = open_lake()[1]
    described = model.describe_lake(lake, *lake.feeds.choose())
    if csv_file is not None:
        with cli.output_file(csv_file) as file:
            json_forms.write_csv(described, file)
        if csv_file != Path("-"):
            cli.tell(f"wrote {plural(len(described.feeds), 'feed')} to {csv_file}")
    if stats or report or json_output:
        cli.show(json_output, json_forms.lake_json(described), text.lake_lines(described, report))
    cli.end_with(described.errors)


@main.command(examples=["metadata_utils.py history transaction_stream"])
@click.argument("feed", shell_complete=feed_names())
@options.json_output
def history(feed: str, json_output: bool) -> None:
    """List the commits of a feed, newest first."""
    from pipeline.report import json_forms, model, text

    lake = open_lake()[1]
    found = model.history_of(lake.table(lake.feeds.get_anywhere(feed)))
    cli.show(json_output, json_forms.history_json(found), [text.history_text(found)])


@main.command(examples=["metadata_utils.py verify --deep", "metadata_utils.py verify rates --source --warehouse"])
@click.argument("feeds", nargs=-1, shell_complete=feed_names())
@click.option("--source", "with_source", is_flag=True, help="Also compare the rows with those at the server.")
@click.option("--since", type=options.RunName(), help="Also read the files that this run or later ones wrote.")
@click.option("--deep", is_flag=True, help="Also read all files.")
@click.option("--warehouse", "with_warehouse", is_flag=True, help="Also compare the warehouse's snapshots.")
@alerting.option
@options.json_output
def verify(
    feeds: tuple[str, ...],
    with_source: bool,
    since: str | None,
    deep: bool,
    with_warehouse: bool,
    alert_command: str | None,
    json_output: bool,
) -> None:
    """Prove logs and files for all feeds, or those named. Exits 1 when something is wrong.

    By itself it adds up what the logs say, and looks whether each file is there with its size; contents are not read.
    """
    if since is not None and deep:
        raise WrongUsage("--deep reads all files, --since some", "give one of them")
    alerting.follow(alert_command)
    from pipeline.display import showing
    from pipeline.progress import Progress
    from pipeline.report import json_forms, text
    from pipeline.verify.verification import verify_feeds
    from pipeline.warehouse.connection import Connection

    settings, lake = open_lake()
    scripts.keep_record(lake, "metadata_utils", cli.utc_now(), settings.lake_log_format, reads_only=True)
    source = settings.sources if with_source else None
    warehouse = (lambda: Connection(settings.mysql_server())) if with_warehouse else None
    chosen, progress = lake.feeds.choose(feeds), Progress()
    with showing(progress):
        found = verify_feeds(lake, *chosen, settings.limits(), source, warehouse, "" if deep else since, progress)
    cli.show(json_output, json_forms.verification_json(found), [text.verdict_text(one) for one in found.verdicts])
    for feed in found.damaged:
        click.echo(f"hint: python metadata_utils.py repair {feed} says what can be done", err=True)
    cli.end_with((error for _, error in found.errors), wrong=bool(found.findings))


for group in (query, comparison, lake_upkeep, lake_compaction, lake_copy, lake_publish, run_list, health):
    for command in group.COMMANDS:
        main.add_command(command)


if __name__ == "__main__":
    scripts.run(main)
