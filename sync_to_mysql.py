#!/usr/bin/env python
"""Loads table snapshots into the MySQL star schema: all tables of a sync in one transaction.

What happens, in this order: check settings, feeds and schema; read the snapshots, from ksqlDB or from the lake, check
and sort their rows; fill dimensions, facts, ledger and rejects in one transaction. Killed at any point before its
COMMIT, the warehouse shows the old star, whole; the next run loads the new one.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from pipeline import cli, options

if TYPE_CHECKING:
    from pipeline.warehouse.connection import Connection


@click.group(invoke_without_command=True)
@options.mysql_server
@click.option("--table", "tables", multiple=True, metavar="FEED", help="Only this table feed (repeatable).")
@click.option("--source", type=click.Choice(["ksqldb", "lake"]), default="ksqldb", show_default=True)
@click.option("--lake-version", type=click.IntRange(1), help="That version of each table; default: the current one.")
@click.option("--all-versions", is_flag=True, help="With --source lake: every version that the lake retains, in order.")
@click.option("--init-schema", is_flag=True, help="First apply the files of sql/ that are not applied yet.")
@click.option("--dry-run", is_flag=True, help="Do it all, then take it back; the warehouse stays as it is.")
@click.option("--strict", is_flag=True, help="Load nothing when a row does not fit, instead of keeping it as a reject.")
@options.json_output
@click.pass_context
@cli.boundary
def main(
    context: click.Context, /, tables: tuple[str, ...], init_schema: bool, json_output: bool, **asked: Any
) -> None:
    """Load table snapshots into the MySQL star schema.

    Exit codes: 0 done, 1 a person must act (also when rows were rejected), 2 wrong usage, 75 try again later.
    """
    if options.handed_on(context):
        return
    from data_lake_config import PROJECT_ROOT, load_settings
    from pipeline.ksqldb.source import connected
    from pipeline.report import warehouse as report
    from pipeline.warehouse import sync
    from pipeline.warehouse.selection import choose_feeds

    settings = load_settings()
    lake, server = settings.lake(cli.tell), settings.mysql_server(context.obj)
    request = sync.SyncRequest(scd2=settings.scd2_tables(), **asked)
    feeds, broken = choose_feeds(lake.feeds, tables, request.scd2)
    stars = sync.stars_of_lake(lake, feeds, request)
    if not request.dry_run:
        cli.keep_log(lake.open_log, "sync_to_mysql")
    if init_schema and not sync.prepare_schema(server, PROJECT_ROOT / "sql", request.dry_run, cli.tell):
        loads = [sync.NOTHING_LOADED]
    elif request.source == "lake":
        loads = sync.load_stars(server, stars, request, cli.utc_now(), cli.tell)
    else:
        with connected(settings.ksqldb_connection()) as sources:
            cli.tell(f"ksqlDB {sources.place}")
            reading = sync.Reading(sources, settings.limits(), settings.read_policy())
            loads = sync.load_from_source(server, reading, feeds, request, cli.utc_now(), cli.tell)
    cli.show(json_output, report.loads_json(loads, request), report.loads_lines(loads, request))
    for feed in broken:
        cli.say_error(feed.error)
    raise SystemExit(1 if broken or any(fact.rejected for loaded in loads for fact in loaded.facts) else 0)


def _connect(context: click.Context, log: bool) -> Connection:
    """A session for a command; `log` for one that changes something."""
    from data_lake_config import load_settings
    from pipeline.warehouse.connection import Connection

    settings = load_settings()
    if log:
        cli.keep_log(settings.lake(cli.tell).open_log, "sync_to_mysql")
    return Connection(settings.mysql_server(context.obj))


@main.command("history")
@options.json_output
@click.pass_context
@cli.boundary
def history_command(context: click.Context, /, json_output: bool) -> None:
    """List the snapshots, newest data first, and which facts' views show them."""
    from pipeline.report import warehouse as report
    from pipeline.warehouse import ledger

    with _connect(context, log=False) as connection:
        entries = ledger.list_snapshots(connection)
    cli.show(json_output, report.history_json(entries), report.history_lines(entries))


@main.command("rollback")
@click.option("--to-snapshot", type=click.IntRange(1), required=True)
@click.option("--dry-run", is_flag=True, help="Say which views would move.")
@options.json_output
@click.pass_context
@cli.boundary
def rollback_command(context: click.Context, /, to_snapshot: int, dry_run: bool, json_output: bool) -> None:
    """Let the current_* views show another snapshot; the next load of newer data moves them on."""
    from pipeline.report import warehouse as report
    from pipeline.warehouse import rollback

    with _connect(context, log=not dry_run) as connection:
        moves = rollback.roll_back(connection, to_snapshot, cli.utc_now(), dry_run=dry_run)
    cli.show(json_output, report.moves_json(moves, dry_run), report.moves_lines(moves, to_snapshot, dry_run))


@main.command("expire")
@click.option("--keep-snapshots", type=click.IntRange(1), help="Keep the newest N.")
@click.option("--keep-days", type=click.IntRange(1, 36_500), help="Keep those of the last N days.")
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@options.yes
@options.json_output
@click.pass_context
@cli.boundary
def expire_command(context: click.Context, /, dry_run: bool, yes: bool, json_output: bool, **rule: int | None) -> None:
    """Delete snapshots that neither rule keeps and no view shows."""
    from pipeline.report import warehouse as report
    from pipeline.warehouse import clock, retention

    retention.refuse_no_rule(**rule)
    with _connect(context, log=yes and not dry_run) as connection:
        now = clock.agreed_now(connection, cli.utc_now())
        going = retention.due(connection, **rule, now=now)
        if going and not dry_run:
            cli.want_yes(yes, f"deleting cannot be undone (snapshots {', '.join(map(str, going))})")
            going = retention.expire(connection, **rule, now=now)
    cli.show(json_output, report.expiry_json(going, dry_run), report.expiry_lines(going, dry_run))


@main.command("redate")
@click.option("--snapshot", type=click.IntRange(1), required=True)
@click.option("--taken-at", type=options.Moment(), required=True, help="In UTC: 2026-11-24T06:00:00Z.")
@click.option("--dry-run", is_flag=True, help="Only say whether it can be done.")
@options.yes
@options.json_output
@click.pass_context
@cli.boundary
def redate_command(
    context: click.Context, /, snapshot: int, taken_at: dt.datetime, dry_run: bool, yes: bool, json_output: bool
) -> None:
    """Give a snapshot that was loaded under a wrong clock the time at which its rows were read."""
    from pipeline.report import warehouse as report
    from pipeline.warehouse import redate

    if not dry_run:
        cli.want_yes(yes, "a snapshot's time is not changed by accident")
    with _connect(context, log=not dry_run) as connection:
        before = redate.redate(connection, snapshot, taken_at, dry_run=dry_run)
    change = (snapshot, before, taken_at, dry_run)
    cli.show(json_output, report.redate_json(*change), report.redate_lines(*change))


if __name__ == "__main__":
    cli.run(main)
