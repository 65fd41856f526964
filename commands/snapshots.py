"""Commands for the warehouse's snapshots: history, rollback, expire, redate.

Each changes the ledger in transactions, so after a kill every view still shows one whole snapshot.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING

import click

from pipeline import cli, options, scripts

if TYPE_CHECKING:
    from data_lake_config import Settings
    from pipeline.lake.lake import Lake
    from pipeline.warehouse.connection import Connection

GROUPS = {
    "What is loaded": ("--table", "--source", "--lake-version", "--all-versions"),
    "How": ("--init-schema", "--dry-run", "--strict", "--alert-command", "--json"),
    "The server": (
        "--mysql-host", "--mysql-port", "--mysql-socket", "--mysql-user", "--mysql-password", "--mysql-ssl-ca",
        "--mysql-ssl-cert", "--mysql-ssl-key", "--database",
    ),
}  # fmt: skip
"""The options of a sync, as its help shows them."""
EXAMPLES = (
    "sync_to_mysql.py --init-schema --source lake",
    "sync_to_mysql.py --source lake --all-versions",
    "sync_to_mysql.py --table payment_method_totals --dry-run",
)


def keep_record(settings: Settings, lake: Lake) -> None:
    """Starts the log of syncs, which is not in the lake: a sync works without a lake."""
    from pipeline.lake.run_log import open_local_run_log

    now = cli.utc_now()
    open_log = functools.partial(open_local_run_log, settings.mysql_sync_log_dir, "mysql_sync", now)
    scripts.keep_record(lake, "sync_to_mysql", now, settings.lake_log_format, open_log, reads_only=True)


def _connect(context: click.Context, log: bool) -> Connection:
    """A session for a command; `log` for one that changes something."""
    from data_lake_config import load_settings
    from pipeline.warehouse.connection import Connection

    settings = load_settings()
    if log:
        keep_record(settings, settings.lake(cli.tell))
    return Connection(settings.mysql_server(context.obj))


@scripts.command(examples=["sync_to_mysql.py history"])
@options.json_output
@click.pass_context
def history(context: click.Context, /, json_output: bool) -> None:
    """List the snapshots, newest data first, and which facts' views show them."""
    from pipeline.report import warehouse as report
    from pipeline.warehouse import ledger

    with _connect(context, log=False) as connection:
        entries = ledger.list_snapshots(connection)
    cli.show(json_output, report.history_json(entries), report.history_lines(entries))


@scripts.command(examples=["sync_to_mysql.py rollback --to-snapshot 3"])
@click.option("--to-snapshot", type=click.IntRange(1), required=True, help="Its number, as `history` shows it.")
@click.option("--dry-run", is_flag=True, help="Show which views would move.")
@options.json_output
@click.pass_context
def rollback(context: click.Context, /, to_snapshot: int, dry_run: bool, json_output: bool) -> None:
    """Make the current_* views show another snapshot; the next load of newer data moves them again."""
    from pipeline.report import warehouse as report
    from pipeline.warehouse import rollback

    with _connect(context, log=not dry_run) as connection:
        moves = rollback.roll_back(connection, to_snapshot, cli.utc_now(), dry_run=dry_run)
    cli.show(json_output, report.moves_json(moves, dry_run), report.moves_lines(moves, to_snapshot, dry_run))


@scripts.command(examples=["sync_to_mysql.py expire --keep-snapshots 30 --dry-run"])
@click.option("--keep-snapshots", type=click.IntRange(1), help="Keep the newest N.")
@click.option("--keep-days", type=click.IntRange(1, 36_500), help="Keep those of the last N days.")
@click.option("--dry-run", is_flag=True, help="Show which snapshots would be deleted.")
@options.yes
@options.json_output
@click.pass_context
def expire(context: click.Context, /, dry_run: bool, yes: bool, json_output: bool, **rule: int | None) -> None:
    """Delete snapshots that neither rule keeps and no view shows."""
    from pipeline.display import working
    from pipeline.report import warehouse as report
    from pipeline.warehouse import clock, retention

    retention.refuse_no_rule(**rule)
    with _connect(context, log=yes and not dry_run) as connection:
        now = clock.agreed_now(connection, cli.utc_now())
        going = retention.due(connection, **rule, now=now)
        if going and not dry_run:
            cli.want_yes(yes, f"deleting cannot be undone (snapshots {', '.join(map(str, going))})")
            with working("snapshots", "deleting") as meter:
                going = retention.expire(connection, **rule, now=now, meter=meter)
    cli.show(json_output, report.expiry_json(going, dry_run), report.expiry_lines(going, dry_run))


@scripts.command(examples=["sync_to_mysql.py redate --snapshot 3 --taken-at 2026-11-24T06:00:00Z"])
@click.option("--snapshot", type=click.IntRange(1), required=True, help="Its number, as `history` shows it.")
@click.option("--taken-at", type=options.Moment(), required=True, help="In UTC: 2026-11-24T06:00:00Z.")
@click.option("--dry-run", is_flag=True, help="Only say whether it can be done.")
@options.yes
@options.json_output
@click.pass_context
def redate(
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


COMMANDS = (history, rollback, expire, redate)
