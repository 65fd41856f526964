#!/usr/bin/env python
"""Loads table snapshots into the MySQL star schema: all tables of a sync in one transaction.

The steps, in this order: check settings, feeds and schema; read the snapshots, from ksqlDB or from the lake, check and
sort their rows; fill dimensions, facts, ledger and rejects in one transaction. A kill before its COMMIT leaves the
whole old star; the next run loads the new one.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

from typing import TYPE_CHECKING, Any

import click

from commands import alerting, lineage_events, snapshots
from commands.completion import feed_option
from pipeline import cli, options, scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_lake_config import Settings
    from pipeline.feeds import Feed
    from pipeline.warehouse.load import Loaded
    from pipeline.warehouse.mapping import TableSnapshot
    from pipeline.warehouse.server import Server
    from pipeline.warehouse.sync import SyncRequest


@click.group(cls=scripts.Group, invoke_without_command=True, groups=snapshots.GROUPS, examples=snapshots.EXAMPLES)
@options.mysql_server
@feed_option("table", "Only this table feed (repeatable).")
@click.option(
    "--source",
    type=click.Choice(["ksqldb", "lake"]),
    default="ksqldb",
    show_default=True,
    help="Where snapshots are read.",
)
@click.option("--lake-version", type=click.IntRange(1), help="That version of each table; default: the current one.")
@click.option("--all-versions", is_flag=True, help="With --source lake: every version that the lake retains, in order.")
@click.option("--init-schema", is_flag=True, help="First apply the files of sql/ that are not applied yet.")
@click.option("--dry-run", is_flag=True, help="Do it all, then take it back; the warehouse stays as it is.")
@click.option("--strict", is_flag=True, help="Load nothing when a row does not fit, instead of keeping it as a reject.")
@alerting.option
@options.json_output
@click.pass_context
def main(
    context: click.Context,
    /,
    tables: tuple[str, ...],
    init_schema: bool,
    alert_command: str | None,
    json_output: bool,
    **asked: Any,
) -> None:
    """Load table snapshots into the MySQL star schema.

    Exit codes: 0 done, 1 a person must act (also when rows were rejected), 2 wrong usage, 75 try again later.
    """
    if options.handed_on(context):
        return
    alerting.follow(alert_command)
    from data_lake_config import PROJECT_ROOT, load_settings
    from pipeline.report import warehouse as report
    from pipeline.warehouse import sync
    from pipeline.warehouse.selection import choose_feeds

    settings = load_settings()
    lake, server = settings.lake(cli.tell), settings.mysql_server(context.obj)
    request = sync.SyncRequest(scd2=settings.scd2_tables(), **asked)
    feeds, broken = choose_feeds(lake.feeds, tables, request.scd2)
    if not request.dry_run:
        snapshots.keep_record(settings, lake)
        lineage_events.follow(settings, lake, "sync_to_mysql", cli.utc_now(), server)
    stars = sync.stars_of_lake(lake, feeds, request)
    if init_schema and not sync.prepare_schema(server, PROJECT_ROOT / "sql", request.dry_run, cli.tell):
        loads = [sync.NOTHING_LOADED]
    else:
        loads = _load(settings, server, feeds, request, stars)
    cli.show(json_output, report.loads_json(loads, request), report.loads_lines(loads, request))
    for feed in broken:
        cli.say_error(feed.error)
    raise SystemExit(1 if broken or any(fact.rejected for loaded in loads for fact in loaded.facts) else 0)


def _load(
    settings: Settings,
    server: Server,
    feeds: Sequence[Feed],
    request: SyncRequest,
    stars: Sequence[Sequence[TableSnapshot]],
) -> list[Loaded]:
    """Loads the stars of the lake, or the tables as ksqlDB has them."""
    from pipeline.display import showing
    from pipeline.progress import Progress
    from pipeline.warehouse import sync

    progress = Progress()
    with showing(progress):
        if request.source == "lake":
            return sync.load_stars(server, stars, request, cli.utc_now(), cli.tell, progress)
        with settings.sources() as sources:
            cli.tell(f"ksqlDB {sources.place}")
            reading = sync.Reading(sources, settings.limits(), settings.read_policy())
            return sync.load_from_source(server, reading, feeds, request, cli.utc_now(), cli.tell, progress)


for command in snapshots.COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    scripts.run(main)
