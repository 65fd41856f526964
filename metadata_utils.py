#!/usr/bin/env python
"""Tells what is in the lake, proves it, and keeps it in shape: report, history, verify, rollback, expire.

Sizes and counts come from the Delta logs. Reading commands change nothing. `rollback` and `expire` are one commit a
feed: killed before it nothing happened, killed after it only `_metadata.json` and `views.sql` wait for the next run.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import contextlib
import csv
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from data_lake_config import Settings, load_settings
from pipeline import cli
from pipeline.errors import PipelineError, WrongUsage, common_exit_code
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.push import Limits
from pipeline.lake.catalog import describe_table, write_metadata, write_views
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.lock import FeedLocked, hold_feed
from pipeline.lake.log import LogDamaged
from pipeline.lake.retention import expire, expired_files
from pipeline.lake.rewrite import roll_back
from pipeline.lake.storage import disk_errors, lake_folder
from pipeline.lake.table import LakeTable
from pipeline.verify.source import compare_with_source, part_names
from pipeline.verify.verdict import Verdict, judge, verify_feeds
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.reconcile import reconcile

_CSV_COLUMNS = ("feed", "type", "source", "rows", "bytes", "files", "partitions", "current_version", "last_commit_at")


def describe_lake(root: Path, feeds: Sequence[Feed]) -> tuple[list[dict[str, Any]], list[PipelineError]]:
    """What the log of each feed tells, by name, and the errors of those whose log is damaged."""
    told, errors = list[dict[str, Any]](), list[PipelineError]()
    for feed in feeds:
        try:
            told.append(describe_table(LakeTable(root, feed)))
        except LogDamaged as error:
            errors.append(error)
    return told, errors


def flat(told: dict[str, Any]) -> dict[str, Any]:
    """One feed's description as a row of the CSV."""
    return {
        "feed": told["feed"],
        "type": told["type"],
        "source": told["source"],
        **told["totals"],
        "partitions": len(told.get("partitions", ())),
        "current_version": told.get("current_version"),
        "last_commit_at": told.get("last_commit_at"),
    }


def report_lines(lake: Sequence[dict[str, Any]], root: Path) -> list[str]:
    """The report for people: one block a feed, at most 80 columns unless a path is longer."""
    lines = [f"Data lake {root}", ""]
    for told in lake:
        lines.append(f"{told['feed']}  ({told['type']}, source {told['source']})")
        if not told["exported"]:
            lines += ["  not exported yet", ""]
            continue
        totals = told["totals"]
        size = cli.size_text(totals["bytes"])
        lines.append(f"  {cli.plural(totals['rows'], 'row')} in {cli.plural(totals['files'], 'file')}, {size}")
        lines.append(f"  last commit {told['last_commit_at']}, Delta version {told['delta_version']}")
        if told["type"] == "stream":
            lines.append(f"  bookmark  {_offsets(told['bookmark'])}")
        else:
            lines.append(f"  current version {told['current_version']}")
        lines += _partition_lines(told["partitions"])
        lines.append("")
    return lines


def _offsets(bookmark: dict[str, int] | None) -> str:
    return ", ".join(f"partition {p}: {mark}" for p, mark in (bookmark or {}).items()) or "none"


def _partition_lines(partitions: Sequence[dict[str, Any]], most: int = 8) -> list[str]:
    shown = partitions[-most:]
    rows = [[f"  {p['partition']}", f"{p['rows']:,}", cli.size_text(p["bytes"]), str(p["files"])] for p in shown]
    lines = cli.as_table(rows, ["  partition", "rows", "size", "files"], right={1, 2, 3}).splitlines() if rows else []
    if len(partitions) > most:
        lines.append(f"  and {len(partitions) - most} older partitions")
    return lines


def history_rows(table: LakeTable) -> list[dict[str, Any]]:
    """Each commit of a feed, newest first: Delta version, time, what it did and how many rows."""
    rows = []
    for entry in table.history():
        note = dict(entry.get("pipeline") or {"kind": str(entry.get("operation", "")).lower()})
        when = dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC)
        rows.append({"delta_version": entry["version"], "at": f"{when:%Y-%m-%dT%H:%M:%SZ}", **note})
    return rows


def verdict_lines(verdict: Verdict) -> list[str]:
    """The verdict for people: one line, and one more for each finding."""
    parts = ["".join(verdict.compared)] if not verdict.errors else []
    if verdict.findings:
        parts = [cli.plural(len(verdict.findings), "problem")]
    parts += [f"not all could be verified: {error.message}" for error in verdict.errors]
    findings = [f"  {finding.what}: {finding.detail}" for finding in verdict.findings]
    return [f"{verdict.feed.name}: {'; '.join(parts)}", *findings]


def _lake() -> tuple[Path, FeedStore]:
    root = lake_folder(load_settings().lake_root)
    return root, FeedStore(root)


@click.group(invoke_without_command=True)
@click.option("--stats", is_flag=True, help="One line a feed (the default).")
@click.option("--report", is_flag=True, help="A block a feed, with partitions and bookmarks.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers to FILE.")
@click.option("--json", "json_output", is_flag=True, help="Print everything as JSON.")
@click.pass_context
@cli.boundary
def main(ctx: click.Context, stats: bool, report: bool, csv_file: Path | None, json_output: bool) -> None:
    """Tell what is in the lake. Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later."""
    if ctx.invoked_subcommand is not None:
        if stats or report or csv_file or json_output:
            raise WrongUsage("--stats, --report, --csv and --json go without a command", "metadata_utils.py --help")
        return
    root, store = _lake()
    lake, errors = describe_lake(root, store.list())
    if csv_file is not None:
        with disk_errors(csv_file), csv_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _CSV_COLUMNS)
            writer.writeheader()
            writer.writerows(flat(told) for told in lake)
        click.echo(f"wrote {cli.plural(len(lake), 'feed')} to {csv_file}", err=True)
    if json_output:
        cli.show_json({"schema_version": 1, "root": str(root), "feeds": lake})
    elif report:
        click.echo("\n".join(report_lines(lake, root)))
    elif lake and (stats or csv_file is None):
        _show_stats(lake)
    elif not lake and not errors:
        click.echo("no feeds yet: python manage_feeds.py sync")
    for error in errors:
        cli.say_error(error)
    ctx.exit(common_exit_code(errors))


def _show_stats(lake: Sequence[dict[str, Any]]) -> None:
    rows = [
        [
            told["feed"],
            f"{told['totals']['rows']:,}",
            cli.size_text(told["totals"]["bytes"]),
            str(told["totals"]["files"]),
            str(told.get("current_version") or ""),
            (told.get("last_commit_at") or "never")[:16],
        ]
        for told in lake
    ]
    head = ["feed", "rows", "size", "files", "version", "last commit"]
    click.echo(cli.as_table(rows, head, right={1, 2, 3, 4}))


@main.command()
@click.argument("feed")
@click.option("--json", "json_output", is_flag=True)
@cli.boundary
def history(feed: str, json_output: bool) -> None:
    """List the commits of a feed, newest first."""
    root, store = _lake()
    table = LakeTable(root, store.get(feed))
    rows = history_rows(table)
    if json_output:
        cli.show_json({"schema_version": 1, "feed": feed, "commits": rows})
        return
    if not table.exists:
        click.echo(f"{feed} is not exported yet")
        return
    shown = [
        [
            str(row["delta_version"]),
            row["at"],
            str(row.get("kind", "")),
            str(row.get("version") or ""),
            f"{row['rows']:,}" if "rows" in row else "",
            str(row.get("outcome") or ""),
        ]
        for row in rows
    ]
    click.echo(cli.as_table(shown, ["delta", "at", "what", "version", "rows", "end"], right={0, 3, 4}))


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
    root, store = _lake()
    verdicts = verify_feeds(root, store.select(feeds) if feeds else store.list())
    exported = [verdict for verdict in verdicts if verdict.table is not None and verdict.table.exists]
    settings = load_settings()
    if with_source:
        limits = Limits(settings.quiet_s, settings.stall_s)
        judge(exported, lambda: _server(settings), lambda client, verdict: _compare(client, verdict, limits))
    if with_warehouse:
        mapped = [verdict for verdict in exported if verdict.feed.warehouse is not None]
        judge(mapped, lambda: Connection(settings.mysql_server()), _reconcile)
    findings = [finding for verdict in verdicts for finding in verdict.findings]
    errors = [(verdict.feed.name, error) for verdict in verdicts for error in verdict.errors]
    if json_output:
        names = sorted(verdict.feed.name for verdict in verdicts)
        failed = [{"feed": name, "message": error.message, "hint": error.hint} for name, error in errors]
        listed = [vars(finding) for finding in findings]
        cli.show_json({"schema_version": 1, "feeds": names, "findings": listed, "errors": failed})
    else:
        for verdict in verdicts:
            click.echo("\n".join(verdict_lines(verdict)))
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
    old = f"; {result.beyond_retention:,} older rows are no longer there" if result.beyond_retention else ""
    return f", {cli.plural(result.row_count, 'row')} as on the server{old}"


def _reconcile(connection: Connection, verdict: Verdict) -> str:
    assert verdict.table is not None
    result = reconcile(connection, verdict.table)
    verdict.findings += result.findings
    counted = f", {result.counted} only counted" if result.counted else ""
    return f"; in the warehouse {cli.plural(result.by_value, 'snapshot')} as in the lake{counted}"


@main.command()
@click.argument("table")
@click.option("--to-version", type=click.IntRange(1), required=True)
@cli.boundary
def rollback(table: str, to_version: int) -> None:
    """Publish an old version of a table as the new, current one."""
    settings = load_settings()
    root, store = _lake()
    (feed,) = store.select([table], "table")
    now = cli.utc_now()
    with hold_feed(root / feed.kind_folder / feed.name, feed.name, cli.holder("metadata_utils.py rollback", now)):
        lake_table = LakeTable.for_writing(root, feed, settings.expire_grace_hours)
        new = roll_back(lake_table, to_version, cli.new_run_id(now), now)
        write_metadata(lake_table)
        write_views(root)
    click.echo(f"{table}: version {to_version} is published again as version {new}")


@main.command("expire")
@click.argument("feeds", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@cli.boundary
def expire_command(feeds: tuple[str, ...], dry_run: bool) -> None:
    """Let go of partitions past their feed's retention, and of files past their grace period."""
    settings = load_settings()
    root, store = _lake()
    now, errors = cli.utc_now(), list[PipelineError]()
    for feed in store.select(feeds) if feeds else store.list():
        try:
            told = _would_expire(root, feed, now) if dry_run else _expire(root, feed, now, settings.expire_grace_hours)
            click.echo(f"{feed.name}: {told}")
        except (FeedLocked, LogDamaged) as error:
            errors.append(error)
            cli.say_error(error)
    if dry_run:
        click.echo("Nothing was changed.")
    else:
        write_views(root)
    raise SystemExit(common_exit_code(errors))


def _would_expire(root: Path, feed: Feed, now: dt.datetime) -> str:
    gone = sorted({file.partition or "" for file in expired_files(LakeTable(root, feed), now)})
    return f"would expire {', '.join(gone) or 'nothing'}"


def _expire(root: Path, feed: Feed, now: dt.datetime, grace_hours: int) -> str:
    with hold_feed(root / feed.kind_folder / feed.name, feed.name, cli.holder("metadata_utils.py expire", now)):
        table = LakeTable.for_writing(root, feed, grace_hours)
        gone = expire(table, cli.new_run_id(now), now)
        deleted = table.remove_orphans(grace_hours)
        if table.exists:
            write_metadata(table)
    return f"expired {', '.join(gone) or 'nothing'}; {cli.plural(deleted, 'old file')} deleted"


if __name__ == "__main__":
    cli.run(main)
