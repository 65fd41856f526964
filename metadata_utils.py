#!/usr/bin/env python
"""Tells what is in the lake, proves it, and keeps it in shape: report, history, verify, rollback, expire, unexpire.

Sizes and counts come from the Delta logs. Reading commands change nothing. The others are one commit a feed: killed
before it nothing happened, killed after it only `_metadata.json` and `views.sql` wait for the next run.
"""

from __future__ import annotations

from pipeline.errors import OutputNotWritten
from pipeline.source import Limits

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import contextlib
import csv
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from data_lake_config import Settings, load_settings
from pipeline import cli
from pipeline.damage import find_damage
from pipeline.errors import PipelineError, WrongUsage, common_exit_code
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.local_store import disk_errors, lake_folder
from pipeline.lake.retention import due
from pipeline.lake.rewrite import roll_back
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import Expired
from pipeline.lake.upkeep import Upkeep, expire_feed, returning, unexpire_feed
from pipeline.lake.writing import writing
from pipeline.repair import repair_feed
from pipeline.report import (
    CSV_COLUMNS,
    commits_of,
    commits_table,
    describe_lake,
    flat,
    report_lines,
    stats_table,
    verdict_lines,
)
from pipeline.text import plural
from pipeline.verify.source import compare_with_source, part_names
from pipeline.verify.verdict import Verdict, judge, verify_feeds
from pipeline.verify.warehouse import reconcile
from pipeline.warehouse.connection import Connection

_STDOUT = Path("-")


def _lake(settings: Settings) -> FeedStore:
    store = FeedStore(lake_folder(settings.lake_root))
    store.check_there()
    return store


def _feeds(store: FeedStore, names: Sequence[str], archived: bool = False) -> tuple[list[Feed], list[PipelineError]]:
    """The feeds of those names, or all that can be read, and why others cannot."""
    if names:
        return [store.get_anywhere(name) if archived else store.get(name) for name in dict.fromkeys(names)], []
    errors = list[PipelineError]()
    kinds = (False, True) if archived else (False,)
    feeds = [feed for kind in kinds for feed in store.list(kind, lambda broken: errors.append(broken.error))]
    return feeds, errors


def _upkeep(settings: Settings, store: FeedStore, command: str, max_share: float = 1) -> Upkeep:
    now = cli.utc_now()
    holder = cli.holder(f"metadata_utils.py {command}", now)
    return Upkeep(store.folder.parent, holder, cli.new_run_id(now), now, settings.expire_grace_hours, max_share)


def _keep_log(store: FeedStore) -> None:
    logs = store.folder.parent / "logs"
    with disk_errors(logs):
        cli.write_log_to(logs, "metadata_utils")


def _exit(errors: Iterable[PipelineError]) -> None:
    raise SystemExit(common_exit_code(errors))


@click.group(invoke_without_command=True)
@click.option("--stats", is_flag=True, help="One line a feed (the default).")
@click.option("--report", is_flag=True, help="A block a feed, with partitions and bookmarks.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write the numbers to FILE (- is stdout).")
@click.option("--json", "json_output", is_flag=True, help="Print everything as JSON.")
@click.pass_context
@cli.boundary
def main(context: click.Context, stats: bool, report: bool, csv_file: Path | None, json_output: bool) -> None:
    """Tell what is in the lake. Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later."""
    if context.invoked_subcommand is not None:
        cli.hand_on_options(context)
        return
    if stats + report + json_output + (csv_file == _STDOUT) > 1:
        raise WrongUsage("--stats, --report, --json and --csv - exclude each other on stdout", "give one of them")
    store = _lake(load_settings())
    feeds, broken = _feeds(store, ())
    lake, errors = describe_lake(store.folder.parent, feeds)
    if csv_file is not None:
        _write_csv(csv_file, lake)
    if json_output:
        cli.show_json({"schema_version": 1, "root": str(store.folder.parent), "feeds": lake})
    elif report:
        click.echo("\n".join(report_lines(lake, store.folder.parent)))
    elif lake and (stats or csv_file is None):
        click.echo(stats_table(lake))
    for error in (errors := [*broken, *errors]):
        cli.say_error(error)
    _exit(errors)


def _write_csv(path: Path, lake: Sequence[dict[str, Any]]) -> None:
    try:
        to_stdout = contextlib.nullcontext(sys.stdout)
        with to_stdout if path == _STDOUT else path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS)
            writer.writeheader()
            writer.writerows(flat(told) for told in lake)
    except OSError as error:
        raise OutputNotWritten(f"{path} could not be written: {error.strerror}", "give --csv another file") from None
    if path != _STDOUT:
        click.echo(f"wrote {plural(len(lake), 'feed')} to {path}", err=True)


@main.command()
@click.argument("feed")
@click.option("--json", "json_output", is_flag=True)
@cli.boundary
def history(feed: str, json_output: bool) -> None:
    """List the commits of a feed, newest first."""
    store = _lake(load_settings())
    table = LakeTable(store.folder.parent, store.get_anywhere(feed))
    commits = commits_of(table)
    if json_output:
        cli.show_json({"schema_version": 1, "feed": feed, "commits": commits})
    elif not table.exists:
        click.echo(f"{feed} is not exported yet")
    else:
        click.echo(commits_table(commits))


@main.command("verify")
@click.argument("feeds", nargs=-1)
@click.option("--source", "with_source", is_flag=True, help="Also read the feeds at the server and compare the rows.")
@click.option(
    "--warehouse", "with_warehouse", is_flag=True, help="Also compare the warehouse's snapshots with the lake."
)
@click.option("--json", "json_output", is_flag=True)
@cli.boundary
def verify_command(feeds: tuple[str, ...], with_source: bool, with_warehouse: bool, json_output: bool) -> None:
    """Prove files against log for all feeds, or those named. Exits 1 when something is wrong."""
    settings = load_settings()
    store = _lake(settings)
    chosen, broken = _feeds(store, feeds)
    with contextlib.suppress(PipelineError):  # a lake that cannot be written can be verified
        _keep_log(store)
    verdicts = verify_feeds(store.folder.parent, chosen)
    exported = [verdict for verdict in verdicts if verdict.exported]
    if with_source:
        limits = Limits(settings.quiet_s, settings.stall_s)
        judge(exported, lambda: _server(settings), lambda client, verdict: _compare(client, verdict, limits))
    if with_warehouse:
        mapped = [verdict for verdict in exported if verdict.feed.warehouse is not None]
        judge(mapped, lambda: Connection(settings.mysql_server()), _reconcile)
    findings = [finding for verdict in verdicts for finding in verdict.findings]
    errors = [(verdict.feed.name, error) for verdict in verdicts for error in verdict.errors]
    errors += [("", error) for error in broken]
    if json_output:
        names = sorted(verdict.feed.name for verdict in verdicts)
        failed = [{"feed": name or None, "message": error.message, "hint": error.hint} for name, error in errors]
        listed = [vars(finding) for finding in findings]
        cli.show_json({"schema_version": 1, "feeds": names, "findings": listed, "errors": failed})
    else:
        for verdict in verdicts:
            cli.say("\n".join(verdict_lines(verdict)))
    for verdict in verdicts:
        if verdict.damaged:
            click.echo(f"hint: python metadata_utils.py repair {verdict.feed.name} says what can be done", err=True)
    for told in {error.message: error for _, error in errors}.values():
        cli.say_error(told)
    raise SystemExit(1 if findings else common_exit_code(error for _, error in errors))


@contextlib.contextmanager
def _server(settings: Settings) -> Iterator[Client]:
    with Client(settings.ksqldb_connection()) as client:
        client.server_version()
        yield client


def _compare(client: Client, verdict: Verdict, limits: Limits) -> str:
    assert verdict.table is not None
    result = compare_with_source(client, verdict.table, limits)
    verdict.findings += result.findings(part_names(verdict.table))
    if result.moved_on:
        return ", the table on the server has moved on since, or does not tell its state: not compared"
    old = f"; {result.beyond_retention:,} older rows are no longer there" if result.beyond_retention else ""
    old += f"; {result.expired_rows:,} more on the server are past the retention" if result.expired_rows else ""
    return f", {plural(result.row_count, 'row')} as on the server{old}"


def _reconcile(connection: Connection, verdict: Verdict) -> str:
    assert verdict.table is not None
    result = reconcile(connection, verdict.table)
    verdict.findings += result.findings
    counted = f", {result.counted} only counted" if result.counted else ""
    return f"; in the warehouse {plural(result.by_value, 'snapshot')} as in the lake{counted}"


@main.command()
@click.argument("table")
@click.option("--to-version", type=click.IntRange(1, 2**31 - 1), required=True)
@cli.boundary
def rollback(table: str, to_version: int) -> None:
    """Publish an old version of a table as the new, current one."""
    settings = load_settings()
    store = _lake(settings)
    feed = store.get(table)
    if feed.type != "table":
        raise WrongUsage(f"{table} is a stream: only tables have versions", "python manage_feeds.py list")
    _keep_log(store)
    upkeep = _upkeep(settings, store, "rollback")
    with writing(upkeep.root, feed, upkeep.holder, upkeep.grace_hours) as lake_table:
        new = roll_back(lake_table, to_version, upkeep.run_id, upkeep.now)
    cli.say(f"{table}: version {to_version} is published again as version {new}")


@main.command("expire")
@click.argument("feeds", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@click.option("--yes", is_flag=True, help="Let go of it although it is more than EXPIRE_MAX_SHARE of a feed's rows.")
@cli.boundary
def expire_command(feeds: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Let go of partitions past their feed's retention, and of files past their grace period; of archived feeds too."""
    settings = load_settings()
    store = _lake(settings)
    if yes and not feeds:
        raise WrongUsage("--yes is for feeds that are named", "python metadata_utils.py expire FEED --yes")
    chosen, errors = _feeds(store, feeds, archived=True)
    for error in errors:
        cli.say_error(error)
    if not dry_run:
        _keep_log(store)
    upkeep = _upkeep(settings, store, "expire", 1 if yes else settings.expire_max_share)
    for index, feed in enumerate(chosen):
        try:
            with contained(feed.name):
                cli.say(_would_expire(upkeep, feed) if dry_run else _expire(upkeep.numbered(index), feed))
        except PipelineError as error:
            errors.append(error)
            cli.say_error(error)
    if dry_run:
        click.echo("Nothing was changed.")
    _exit(errors)


def _would_expire(upkeep: Upkeep, feed: Feed) -> str:
    found = due(LakeTable(upkeep.root, feed), upkeep.now)
    found.check(upkeep.max_share)
    rows = f" ({plural(found.row_count, 'row')})" if found.files else ""
    return f"{feed.name}: would expire {', '.join(found.partitions) or 'nothing'}{rows}"


def _expire(upkeep: Upkeep, feed: Feed) -> str:
    taken = expire_feed(upkeep, feed)
    deleted = plural(taken.deleted_files, "old file")
    return f"{feed.name}: expired {', '.join(taken.partitions) or 'nothing'}; {deleted} deleted"


@main.command("unexpire")
@click.argument("feed")
@click.option("--dry-run", is_flag=True, help="Say what would come back.")
@cli.boundary
def unexpire_command(feed: str, dry_run: bool) -> None:
    """Bring back what expired, as far as the feed's retention keeps it now and its files are still there."""
    settings = load_settings()
    store = _lake(settings)
    upkeep, chosen = _upkeep(settings, store, "unexpire"), store.get_anywhere(feed)
    if dry_run:
        cli.say(_returned(feed, returning(LakeTable(upkeep.root, chosen), upkeep), "would bring back"))
        click.echo("Nothing was changed.")
        return
    _keep_log(store)
    cli.say(_returned(feed, unexpire_feed(upkeep, chosen), "brought back"))


def _returned(feed: str, found: Expired, verb: str) -> str:
    if not found.files and not found.lost:
        return f"{feed}: nothing expired that could come back"
    lines = [f"{feed}: {verb} {plural(found.row_count, 'row')}: {', '.join(found.partitions)}"]
    lines += [f"  {plural(rows, 'row')} cannot come back: {reason}" for reason, rows in found.lost.items()]
    return "\n".join(lines)


@main.command("repair")
@click.argument("feed")
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@click.option("--give-up", is_flag=True, help="Do not read the rows of lost files again: they are lost.")
@click.option("--dry-run", is_flag=True, help="Say what is wrong and what would be done, as without --yes.")
@cli.boundary
def repair_command(feed: str, yes: bool, give_up: bool, dry_run: bool) -> None:
    """Say what is wrong with a feed's data and what can be done, and do it with --yes. Exits 1 while it is wrong."""
    settings = load_settings()
    store = _lake(settings)
    upkeep, chosen = _upkeep(settings, store, "repair"), store.get_anywhere(feed)
    damage = find_damage(upkeep.root, chosen, upkeep.now)
    if not damage.found:
        click.echo(f"{feed}: nothing to repair")
        return
    if not yes or dry_run:
        click.echo(f"{feed}:\n  " + "\n  ".join(damage.lines()))
        click.echo(f"Nothing was changed. To repair it: python metadata_utils.py repair {feed} --yes")
        raise SystemExit(1)
    _keep_log(store)
    limits = Limits(settings.quiet_s, settings.stall_s)
    for told in repair_feed(upkeep, chosen, None if give_up else lambda: _server(settings), limits):
        cli.say(f"{feed}: {told}")
    for line in dataclasses.replace(damage, files=(), torn=None, clock=None, current_lost=False).lines():
        cli.say(f"{feed}: {line}")
    raise SystemExit(1 if damage.other else 0)


if __name__ == "__main__":
    cli.run(main)
