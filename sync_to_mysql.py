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

import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from data_lake_config import PROJECT_ROOT, Settings, load_settings
from pipeline import cli
from pipeline.errors import WrongUsage
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.source import KsqldbSource
from pipeline.lake.lake import Lake
from pipeline.source import Limits
from pipeline.warehouse.clock import agreed_now, not_after, rfc3339
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import list_snapshots, previous_row_counts
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.migrations import init_schema, planned_migrations
from pipeline.warehouse.option_file import password_is_open
from pipeline.warehouse.redate import redate
from pipeline.warehouse.report import (
    expiry_json,
    expiry_lines,
    history_json,
    history_table,
    loaded_json,
    loaded_lines,
    moves_json,
    moves_lines,
    redate_json,
    redate_lines,
)
from pipeline.warehouse.retention import expire, expired_snapshots
from pipeline.warehouse.rollback import roll_back
from pipeline.warehouse.selection import choose_feeds, refuse_unknown_dimensions
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_history, lake_snapshots, source_snapshots
from pipeline.warehouse.target import GALERA, is_galera

_SQL = PROJECT_ROOT / "sql"
_TIMES = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d"]
_CONNECTION = ("host", "port", "socket", "user", "password", "ssl_ca", "ssl_cert", "ssl_key", "database")
"""The options that count for every command."""


def sync(server: Server, snapshots: Sequence[TableSnapshot], source: str, now: dt.datetime, **options: Any) -> Loaded:
    """Loads the snapshots as one star; `options` are those of `load_star`."""
    with Connection(server) as connection:
        return load_star(connection, snapshots, source, now, **options)


def lake_stars(lake: Lake, feeds: Sequence[Feed], version: int | None, everything: bool) -> list[list[TableSnapshot]]:
    """What the lake has for each load, oldest first: nothing is read yet but its logs."""
    if not everything:
        return [lake_snapshots(lake, feeds, version)]
    return [snapshots for _, snapshots in lake_history(lake, feeds)]


@contextlib.contextmanager
def ksqldb_star(
    settings: Settings, server: Server, feeds: Sequence[Feed], now: dt.datetime
) -> Iterator[list[TableSnapshot]]:
    """The feeds' tables as ksqlDB has them now, ready to be loaded; kept until the block ends."""
    with Connection(server) as connection:
        previous = previous_row_counts(connection)
    limits = Limits(settings.quiet_s, settings.stall_s)
    policy = dataclasses.replace(settings.read_policy(), allow_shrink="SNAPSHOT_MAX_SHRINK=1 in the environment")
    with Client(settings.ksqldb_connection()) as client:
        cli.tell(f"ksqlDB {client.server_version()} at {settings.ksqldb_url}")
        with source_snapshots(KsqldbSource(client), feeds, limits, policy, previous, now) as snapshots:
            yield snapshots


def prepare_schema(server: Server, dry_run: bool, folder: Path = _SQL) -> bool:
    """Applies the files in `sql/`, or says which it would; whether a load can go on from there."""
    files = planned_migrations(server, folder) if dry_run else init_schema(server, folder)
    applied = "would be applied" if dry_run else "applied"
    for name, is_new in files:
        cli.tell(f"schema of {server.database}: {name} " + (applied if is_new else "already there"))
    return not (dry_run and any(is_new for _, is_new in files))


def _show(as_json: bool, data: dict[str, Any], lines: Sequence[str]) -> None:
    """The result on stdout, and for the log."""
    if as_json:
        cli.show_json(data)
    else:
        click.echo("\n".join(lines))
    for line in lines:
        logging.getLogger("pipeline").debug("%s", line)


def _server(context: click.Context, settings: Settings, given: dict[str, Any]) -> Server:
    """The settings' server with the command line's options, which count more."""
    if context.get_parameter_source("password") is ParameterSource.COMMANDLINE:
        click.echo("warning: others can see a password on the command line; use MYSQL_PASSWORD_FILE", err=True)
    if password_is_open(settings.mysql_option_file):
        click.echo(f"warning: others can read the password in {settings.mysql_option_file}: chmod 600 it", err=True)
    wanted = {name: value for name, value in given.items() if value is not None}
    if "host" in wanted or "port" in wanted:
        wanted = {"socket": ""} | wanted
    return dataclasses.replace(settings.mysql_server(), **wanted)


@click.group(invoke_without_command=True)
@click.option("--mysql-host", "host", help="Default: MYSQL_HOST; the same for the other options.")
@click.option("--mysql-port", "port", type=click.IntRange(1, 65535))
@click.option("--mysql-socket", "socket", help="Unix socket, instead of host and port.")
@click.option("--mysql-user", "user")
@click.option(
    "--mysql-password",
    "password",
    prompt=True,
    prompt_required=False,
    hide_input=True,
    default=None,
    help="Without a value it is asked for. Better: MYSQL_PASSWORD or MYSQL_PASSWORD_FILE.",
)
@click.option(
    "--mysql-ssl-ca", "ssl_ca", help="PEM file with the server's CA: TLS, with certificate and host name verified."
)
@click.option("--mysql-ssl-cert", "ssl_cert", help="PEM file with the client's certificate.")
@click.option("--mysql-ssl-key", "ssl_key", help="PEM file with its key.")
@click.option("--database", help="Database of the star schema.")
@click.option("--table", "tables", multiple=True, metavar="FEED", help="Only this table feed (repeatable).")
@click.option("--source", type=click.Choice(["ksqldb", "lake"]), default="ksqldb", show_default=True)
@click.option("--lake-version", type=click.IntRange(1), help="That version of each table; default: the current one.")
@click.option("--all-versions", is_flag=True, help="With --source lake: every version that the lake retains, in order.")
@click.option(
    "--init-schema", "schema_first", is_flag=True, help="First apply the files of sql/ that are not applied yet."
)
@click.option("--dry-run", is_flag=True, help="Do it all, then take it back; the warehouse stays as it is.")
@click.option("--strict", is_flag=True, help="Load nothing when a row does not fit, instead of keeping it as a reject.")
@click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")
@click.pass_context
@cli.boundary
def main(
    context: click.Context,
    /,
    tables: tuple[str, ...],
    source: str,
    lake_version: int | None,
    all_versions: bool,
    schema_first: bool,
    dry_run: bool,
    strict: bool,
    json_output: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Load table snapshots into the MySQL star schema.

    Exit codes: 0 done, 1 a person must act (also when rows were rejected), 2 wrong usage, 75 try again later.
    """
    settings, now = load_settings(), cli.utc_now()
    lake, server = settings.lake(cli.tell), _server(context, settings, given)
    context.obj = server
    if context.invoked_subcommand is not None:
        cli.hand_on_options(context, _CONNECTION)
        return
    if (lake_version is not None or all_versions) and source != "lake":
        raise WrongUsage("--lake-version and --all-versions go with --source lake", "add --source lake")
    if lake_version is not None and all_versions:
        raise WrongUsage("--lake-version and --all-versions exclude each other", "give one of them")
    (feeds, broken), scd2 = choose_feeds(lake.feeds, tables), settings.scd2_tables()
    refuse_unknown_dimensions(lake.feeds, scd2)
    stars = lake_stars(lake, feeds, lake_version, all_versions) if source == "lake" else []
    if not dry_run:
        cli.keep_log(lake.open_log, "sync_to_mysql")
    if schema_first and not prepare_schema(server, dry_run):
        _show(json_output, loaded_json(Loaded([]), dry_run), ["Nothing was changed."])
        return
    with Connection(server) as connection:
        now = agreed_now(connection, now)
        if is_galera(connection):
            cli.tell(f"warning: {GALERA}")
    loads: list[Loaded] = []
    options = {"dry_run": dry_run, "strict": strict, "scd2": scd2}
    for star in stars:
        cli.tell(", ".join(f"{table.feed} version {table.lake_version} of {rfc3339(table.taken_at)}" for table in star))
        loads.append(sync(server, not_after(star, now), source, now, **options))
    if source == "ksqldb":
        with ksqldb_star(settings, server, feeds, now) as star:
            loads.append(sync(server, star, source, now, **options))
    told = [loaded_json(loaded, dry_run) for loaded in loads]
    _show(
        json_output,
        {"schema_version": 1, "loads": told} if all_versions else told[0],
        [line for loaded in loads for line in loaded_lines(loaded, dry_run)],
    )
    for feed in broken:
        cli.say_error(feed.error)
    raise SystemExit(1 if broken or any(fact.rejected for loaded in loads for fact in loaded.facts) else 0)


@main.command("history")
@click.option("--json", "json_output", is_flag=True, help="Print as JSON.")
@click.pass_obj
@cli.boundary
def history_command(server: Server, json_output: bool) -> None:
    """List the snapshots, newest data first, and which facts' views show them."""
    with Connection(server) as connection:
        entries = list_snapshots(connection)
    _show(json_output, history_json(entries), [history_table(entries)])


@main.command("rollback")
@click.option("--to-snapshot", type=click.IntRange(1), required=True)
@click.option("--dry-run", is_flag=True, help="Say which views would move.")
@click.option("--json", "json_output", is_flag=True, help="Print as JSON.")
@click.pass_obj
@cli.boundary
def rollback_command(server: Server, to_snapshot: int, dry_run: bool, json_output: bool) -> None:
    """Let the current_* views show another snapshot; the next load of newer data moves them on."""
    if not dry_run:
        cli.keep_log(load_settings().lake(cli.tell).open_log, "sync_to_mysql")
    with Connection(server) as connection:
        moves = roll_back(connection, to_snapshot, cli.utc_now(), dry_run=dry_run)
    _show(json_output, moves_json(moves, dry_run), moves_lines(moves, to_snapshot, dry_run))


@main.command("expire")
@click.option("--keep-snapshots", type=click.IntRange(1), help="Keep the newest N.")
@click.option("--keep-days", type=click.IntRange(1, 36_500), help="Keep those of the last N days.")
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--json", "json_output", is_flag=True, help="Print as JSON.")
@click.pass_obj
@cli.boundary
def expire_command(
    server: Server, keep_snapshots: int | None, keep_days: int | None, dry_run: bool, yes: bool, json_output: bool
) -> None:
    """Delete snapshots that neither rule keeps and no view shows."""
    with Connection(server) as connection:
        now = agreed_now(connection, cli.utc_now())
        going = expired_snapshots(list_snapshots(connection), keep_snapshots, keep_days, now)
        if going and not dry_run:
            if not yes:
                listed = ", ".join(map(str, going))
                raise WrongUsage(
                    f"deleting cannot be undone (snapshots {listed})", "add --yes to do it, or --dry-run to look"
                )
            cli.keep_log(load_settings().lake(cli.tell).open_log, "sync_to_mysql")
            going = expire(connection, keep_snapshots, keep_days, now)
    _show(json_output, expiry_json(going, dry_run), expiry_lines(going, dry_run))


@main.command("redate")
@click.option("--snapshot", type=click.IntRange(1), required=True)
@click.option("--taken-at", type=click.DateTime(_TIMES), required=True, help="In UTC: 2026-11-24T06:00:00Z.")
@click.option("--dry-run", is_flag=True, help="Only say whether it can be done.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--json", "json_output", is_flag=True, help="Print as JSON.")
@click.pass_obj
@cli.boundary
def redate_command(
    server: Server, snapshot: int, taken_at: dt.datetime, dry_run: bool, yes: bool, json_output: bool
) -> None:
    """Give a snapshot that was loaded under a wrong clock the time at which its rows were read."""
    if not (yes or dry_run):
        raise WrongUsage("a snapshot's time is not changed by accident", "add --yes to do it, or --dry-run to look")
    if not dry_run:
        cli.keep_log(load_settings().lake(cli.tell).open_log, "sync_to_mysql")
    moment = taken_at.replace(tzinfo=dt.UTC)
    with Connection(server) as connection:
        before = redate(connection, snapshot, moment, dry_run=dry_run)
    _show(json_output, redate_json(snapshot, before, moment, dry_run), redate_lines(snapshot, before, moment, dry_run))


if __name__ == "__main__":
    cli.run(main)
