#!/usr/bin/env python
"""Loads table snapshots into the MySQL star schema: all tables of a sync in one transaction.

What happens, in this order: check settings, feeds and schema; read the snapshots, from ksqlDB or from the lake, check
and sort their rows; fill dimensions, facts, ledger and rejects in one transaction. Killed at any point before its
COMMIT, the warehouse shows the old star, whole; the next run loads the new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from data_lake_config import PROJECT_ROOT, Settings, load_settings
from pipeline import cli
from pipeline.errors import WrongUsage
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.push import Limits
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.storage import disk_errors, lake_folder
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import (
    SnapshotEntry,
    expire,
    expired_snapshots,
    list_snapshots,
    previous_row_counts,
    roll_back,
)
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.option_file import password_is_open
from pipeline.warehouse.plan import TableSnapshot
from pipeline.warehouse.schema_files import init_schema
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import Belief, ksqldb_snapshots, lake_history, lake_snapshots, mapping_of

_HISTORY_HEAD = ["snapshot", "taken at", "source", "status", "rows", "rejected", "shown by the views of"]


def sync(server: Server, snapshots: Sequence[TableSnapshot], source: str, now: dt.datetime, **options: Any) -> Loaded:
    """Loads the snapshots as one star; `options` are those of `load_star`."""
    with Connection(server) as connection:
        return load_star(connection, snapshots, source, now, **options)


def choose_feeds(store: FeedStore, names: Sequence[str]) -> list[Feed]:
    """The named table feeds, or every enabled one that has a place in the warehouse."""
    if names:
        feeds = list(store.select(names, "table"))
    else:
        feeds = [feed for feed in store.list() if feed.enabled and feed.warehouse is not None]
    if not feeds:
        raise WrongUsage("there is no table feed for the warehouse", "python manage_feeds.py sync creates the defaults")
    for feed in feeds:
        mapping_of(feed)
    return feeds


def refuse_unknown_dimensions(store: FeedStore, scd2: Collection[str]) -> None:
    """A misspelled name would keep no history, and say nothing."""
    known = {feed.warehouse.dimension.table for feed in store.list() if feed.warehouse and feed.warehouse.dimension}
    for name in sorted(set(scd2) - known):
        raise WrongUsage(
            f"SCD2_DIMENSIONS names {name}, which no feed fills",
            f"the feeds fill {', '.join(sorted(known)) or 'no dimension'}",
        )


@contextlib.contextmanager
def open_snapshots(
    settings: Settings, server: Server, feeds: Sequence[Feed], source: str, version: int | None, now: dt.datetime
) -> Iterator[list[TableSnapshot]]:
    """The feeds' snapshots, ready to be loaded; kept until the block ends."""
    if source == "lake":
        yield lake_snapshots(lake_folder(settings.lake_root), feeds, version)
        return
    with Connection(server) as connection:
        previous = previous_row_counts(connection)
    belief = Belief(
        Limits(settings.quiet_s, settings.stall_s), settings.snapshot_recheck_s, settings.snapshot_max_shrink
    )
    with Client(settings.ksqldb_connection()) as client:
        cli.tell(f"ksqlDB {client.server_version()} at {settings.ksqldb_url}")
        with ksqldb_snapshots(client, feeds, belief, previous, now) as snapshots:
            yield snapshots


def as_json(loaded: Loaded, dry_run: bool) -> dict[str, Any]:
    """The stable form of `--json`."""
    return {
        "schema_version": 1,
        "dry_run": dry_run,
        "snapshot_version": loaded.version,
        "unchanged": loaded.unchanged,
        "in_bulk": loaded.in_bulk,
        "facts": [
            {
                "feed": fact.feed,
                "fact": fact.fact,
                "rows": fact.rows,
                "rejected": fact.rejected,
                "new_dimension_members": fact.new_members,
                "first_new_dimension_members": fact.first_new_members,
                "lake_version": fact.lake_version,
                "shown": fact.is_newest,
            }
            for fact in loaded.facts
        ],
    }


def report_lines(loaded: Loaded, dry_run: bool) -> list[str]:
    """What happened, for people."""
    lines = []
    for fact in loaded.facts:
        line = f"{fact.fact}: {cli.plural(fact.rows, 'row')}"
        if fact.lake_version is not None:
            line += f" from lake version {fact.lake_version}"
        if fact.new_members:
            shown = ", ".join(fact.first_new_members[:5]) + (", ..." if fact.new_members > 5 else "")
            line += f"; new in its dimension: {fact.new_members} ({shown})"
        lines.append(line)
        lines += [f"  rejected {r.row_key}: {r.column} {r.reason}" for r in fact.first_rejects]
        if fact.rejected > len(fact.first_rejects):
            lines.append(f"  {fact.rejected} rejects in all")
    if dry_run:
        lines.append("Nothing was changed.")
    elif loaded.unchanged:
        lines.append(f"These rows are in the warehouse already, as snapshot {loaded.version}; nothing was changed.")
    else:
        lines.append(f"Loaded as snapshot {loaded.version}.")
        if not loaded.in_bulk:
            lines.append("Rows were sent by INSERT: the server has local_infile off, which is slower.")
        if older := [fact.fact for fact in loaded.facts if not fact.is_newest]:
            lines.append(f"Younger rows are there already, which the current_* views go on showing: {', '.join(older)}")
    if any(fact.rejected for fact in loaded.facts):
        lines.append("Some rows did not fit; " + ("they would be" if dry_run else "they are") + " kept in etl_rejects.")
    return lines


def _entry_json(entry: SnapshotEntry) -> dict[str, Any]:
    return vars(entry) | {"taken_at": _rfc3339(entry.taken_at), "loaded_at": _rfc3339(entry.loaded_at)}


def _rfc3339(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
@click.option("--init-schema", is_flag=True, help="First apply the files of sql/ that are not applied yet.")
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
    init_schema: bool,
    dry_run: bool,
    strict: bool,
    json_output: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Load table snapshots into the MySQL star schema.

    Exit codes: 0 done, 1 a person must act (also when rows were rejected), 2 wrong usage, 75 try again later.
    """
    settings, now = load_settings(), cli.utc_now()
    root, server = lake_folder(settings.lake_root), _server(context, settings, given)
    context.obj = server
    if context.invoked_subcommand is not None:
        return
    if (lake_version is not None or all_versions) and source != "lake":
        raise WrongUsage("--lake-version and --all-versions go with --source lake", "add --source lake")
    if lake_version is not None and all_versions:
        raise WrongUsage("--lake-version and --all-versions exclude each other", "give one of them")
    if not dry_run:
        with disk_errors(root):
            cli.write_log_to(root / "logs", "sync_to_mysql")
    if init_schema and not dry_run:
        for name, is_new in apply_schema(server):
            cli.tell(f"schema of {server.database}: {name} " + ("applied" if is_new else "already there"))
    feeds, scd2 = choose_feeds(FeedStore(root), tables), settings.scd2_tables()
    refuse_unknown_dimensions(FeedStore(root), scd2)
    loads: list[Loaded] = []
    options = {"dry_run": dry_run, "strict": strict, "scd2": scd2}
    if all_versions:
        for taken_at, snapshots in lake_history(root, feeds):
            listed = ", ".join(f"{snapshot.feed} version {snapshot.lake_version}" for snapshot in snapshots)
            cli.tell(f"{_rfc3339(taken_at)}: {listed}")
            loads.append(sync(server, snapshots, source, now, **options))
    else:
        with open_snapshots(settings, server, feeds, source, lake_version, now) as snapshots:
            loads.append(sync(server, snapshots, source, now, **options))
    if json_output and all_versions:
        cli.show_json({"schema_version": 1, "loads": [as_json(loaded, dry_run) for loaded in loads]})
    elif json_output:
        cli.show_json(as_json(loads[0], dry_run))
    else:
        click.echo("\n".join(line for loaded in loads for line in report_lines(loaded, dry_run)))
    raise SystemExit(1 if any(fact.rejected for loaded in loads for fact in loaded.facts) else 0)


@main.command("history")
@click.option("--json", "json_output", is_flag=True)
@click.pass_obj
@cli.boundary
def history_command(server: Server, json_output: bool) -> None:
    """List the snapshots, newest data first, and which facts' views show them."""
    with Connection(server) as connection:
        entries = list_snapshots(connection)
    if json_output:
        cli.show_json({"schema_version": 1, "snapshots": [_entry_json(entry) for entry in entries]})
        return
    rows = [
        [str(e.version), f"{e.taken_at:%Y-%m-%d %H:%M}", e.source, e.status, f"{e.row_count:,}",
         f"{e.rejected_count:,}", ", ".join(e.shown)]
        for e in entries
    ]  # fmt: skip
    click.echo(cli.as_table(rows, _HISTORY_HEAD, right={0, 4, 5}))


@main.command("rollback")
@click.option("--to-snapshot", type=click.IntRange(1), required=True)
@click.pass_obj
@cli.boundary
def rollback_command(server: Server, to_snapshot: int) -> None:
    """Let the current_* views show another snapshot; the next load of newer data moves them on."""
    with Connection(server) as connection:
        moves = roll_back(connection, to_snapshot, cli.utc_now())
    for move in moves:
        click.echo(f"{move.fact}: snapshot {move.before or 'none'} -> {move.after}")
    if not moves:
        click.echo(f"The views show snapshot {to_snapshot} already; nothing was changed.")


@main.command("expire")
@click.option("--keep-snapshots", type=click.IntRange(1), help="Keep the newest N.")
@click.option("--keep-days", type=click.IntRange(1), help="Keep those of the last N days.")
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.pass_obj
@cli.boundary
def expire_command(server: Server, keep_snapshots: int | None, keep_days: int | None, dry_run: bool, yes: bool) -> None:
    """Delete snapshots that neither rule keeps and no view shows."""
    now = cli.utc_now()
    with Connection(server) as connection:
        going = expired_snapshots(list_snapshots(connection), keep_snapshots, keep_days, now)
        click.echo(f"snapshots to delete: {', '.join(map(str, going)) or 'none'}")
        if dry_run or not going:
            click.echo("Nothing was changed.")
            return
        if not yes:
            raise WrongUsage("deleting snapshots cannot be undone", "add --yes to do it, or --dry-run to look")
        gone = expire(connection, keep_snapshots, keep_days, now)
    click.echo(f"{cli.plural(len(gone), 'snapshot')} deleted")


def apply_schema(server: Server, folder: Path = PROJECT_ROOT / "sql") -> list[tuple[str, bool]]:
    """Applies the files in `sql/`; returns their names, and whether each is new to this warehouse."""
    return init_schema(server, folder)


if __name__ == "__main__":
    main()
