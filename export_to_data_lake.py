#!/usr/bin/env python
"""Exports feeds from ksqlDB into the lake: streams append their new rows, tables add a snapshot.

What happens, in this order, for each feed: take its lock; remove what a killed run left; read; commit rows and
progress in one step; expire by the retention rule; rewrite `_metadata.json` and `views.sql`. Killed before the commit
the lake is as it was; killed after it, only the last two steps are missing, and the next run does them.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from data_lake_config import load_settings
from pipeline import cli
from pipeline.errors import PipelineError, TryLater, WrongUsage, common_exit_code
from pipeline.export import (
    Exported,
    Run,
    export_stream,
    export_table,
    preview,
    with_deadline,
)
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.push import Limits
from pipeline.lake.catalog import write_metadata, write_views
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.retention import expire
from pipeline.lake.storage import disk_errors, hold_feed, lake_folder
from pipeline.lake.table import NULL_PARTITION, LakeTable
from pipeline.replace import export_day, export_full


@dataclass(frozen=True)
class Wish:
    """What is asked for beyond the default."""

    full: bool = False
    day: dt.date | None = None
    version: int | None = None
    dry_run: bool = False


@dataclass
class Result:
    """What became of one feed."""

    feed: Feed
    exported: Exported = field(default_factory=Exported)
    expired: list[str] = field(default_factory=list)
    error: PipelineError | None = None
    seconds: float = 0.0


def export_feeds(
    client: Client,
    root: Path,
    feeds: Sequence[Feed],
    run: Run,
    wish: Wish,
    holder: dict[str, str],
    max_runtime_s: float | None = None,
    tell: Callable[[str], None] = cli.tell,
) -> list[Result]:
    """Exports each feed; the failure of one does not stop the others."""
    started, results = time.monotonic(), []
    for index, feed in enumerate(feeds):
        left = None if max_runtime_s is None else max_runtime_s - (time.monotonic() - started)
        result = Result(feed)
        begun = time.monotonic()
        try:
            if left is not None and left <= 0:
                raise TryLater(f"{feed.name} was not begun: --max-runtime is over", "run the same command again")
            own = with_deadline(_named(run, index), left)
            if wish.dry_run:
                result.exported = preview(client, LakeTable(root, feed), wish.version)
            else:
                _export(client, root, result, own, wish, holder)
        except PipelineError as error:
            result.error = error
            cli.say_error(error)
        result.seconds = time.monotonic() - begun
        tell(_line(result))
        results.append(result)
    return results


def _export(client: Client, root: Path, result: Result, run: Run, wish: Wish, holder: dict[str, str]) -> None:
    feed = result.feed
    with hold_feed(root / feed.kind_folder / feed.name, feed.name, holder):
        table = LakeTable.for_writing(root, feed, run.grace_hours)
        try:
            if feed.type == "table":
                export_table(client, table, run, result.exported, wish.version)
            elif wish.day is not None:
                export_day(client, table, run, result.exported, wish.day)
            else:
                (export_full if wish.full else export_stream)(client, table, run, result.exported)
            if result.exported.undated_rows:
                told = cli.plural(result.exported.undated_rows, "row")
                result.exported.notes.append(f"{told} without a date in the years 1 to 9999, in date={NULL_PARTITION}")
            result.expired = expire(table, f"{run.id}ee", run.now)
        finally:
            _describe(root, table, sys.exception())


def _describe(root: Path, table: LakeTable, failure: BaseException | None) -> None:
    """Rewrites what is derived from the log. Where that fails too, `failure` stays the error and tells of both."""
    try:
        if table.exists:
            write_metadata(table)
            write_views(root)
    except PipelineError as error:
        if failure is None:
            raise
        if isinstance(failure, PipelineError):
            failure.message += f"; besides, {error.message}"


def exit_code(results: Sequence[Result]) -> int:
    """0 when all went well; else by what failed."""
    return common_exit_code(result.error for result in results if result.error is not None)


def as_json(results: Sequence[Result], wish: Wish) -> dict[str, Any]:
    """The stable form of `--json`."""
    return {
        "schema_version": 1,
        "dry_run": wish.dry_run,
        "feeds": [
            {
                "feed": result.feed.name,
                "type": result.feed.type,
                "status": "failed" if result.error else "ok",
                "rows": result.exported.rows,
                "files": result.exported.files,
                "bytes": result.exported.size_bytes,
                "commits": result.exported.commits,
                "version": result.exported.version,
                "outcome": result.exported.outcome or None,
                "lag": result.exported.lag,
                "expired_partitions": result.expired,
                "notes": result.exported.notes,
                "error": result.error and {"message": result.error.message, "hint": result.error.hint},
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def _named(run: Run, index: int) -> Run:
    return Run(**{**vars(run), "id": f"{run.id}{index:03x}"})


def _line(result: Result) -> str:
    name, done = result.feed.name, result.exported
    if result.error is not None:
        return f"{name}: failed after {result.seconds:.1f} s"
    parts = [cli.plural(done.rows, "row")]
    if done.version is not None:
        parts.append(f"version {done.version}")
    if done.commits:
        parts.append(f"{cli.plural(done.files, 'file')}, {cli.size_text(done.size_bytes)}")
    parts += [part for part in (f"end: {done.outcome}" if done.outcome else "", *done.notes) if part]
    if done.lag:
        parts.append(f"the table was {cli.plural(done.lag, 'record')} behind its sources")
    if result.expired:
        parts.append(f"expired {', '.join(result.expired)}")
    return f"{name}: {'; '.join(parts)} ({result.seconds:.1f} s)"


def _choose(store: FeedStore, everything: bool, streams: Sequence[str], tables: Sequence[str]) -> list[Feed]:
    if everything == bool(streams or tables):
        raise WrongUsage("give either --all, or feeds by --stream and --table", "python export_to_data_lake.py --help")
    if everything:
        feeds = [feed for feed in store.list() if feed.enabled]
        if not feeds:
            raise WrongUsage("there is no enabled feed", "python manage_feeds.py sync creates the default ones")
        return feeds
    chosen = [*store.select(streams, "stream"), *store.select(tables, "table")]
    off = [feed.name for feed in chosen if not feed.enabled]
    if off:
        raise WrongUsage(f"the feed {off[0]} is disabled", f"python manage_feeds.py enable {off[0]}")
    return chosen


def _check(wish: Wish, feeds: Sequence[Feed]) -> None:
    streams, tables = (sum(feed.type == kind for feed in feeds) for kind in ("stream", "table"))
    if wish.day is not None and (tables or wish.full):
        raise WrongUsage("--date is for streams, and not together with --full", "name them with --stream")
    if wish.version is not None and (streams or tables != 1):
        raise WrongUsage("--version is for one table", "name it with --table")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every enabled feed.")
@click.option("--stream", "streams", multiple=True, metavar="FEED", help="A stream feed (repeatable).")
@click.option("--table", "tables", multiple=True, metavar="FEED", help="A table feed (repeatable).")
@click.option("--full", is_flag=True, help="Read streams again from their start and replace what the source still has.")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Read this day of a stream again and replace it."
)
@click.option("--version", type=click.IntRange(1), help="Write the table snapshot as this version.")
@click.option("--max-runtime", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop by then.")
@click.option("--allow-shrink", is_flag=True, help="Believe a table that lost more rows than usual.")
@click.option("--accept-gap", is_flag=True, help="Go on although the topic has lost rows; the gap is recorded.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")
@cli.boundary
def main(
    everything: bool,
    streams: tuple[str, ...],
    tables: tuple[str, ...],
    full: bool,
    day: dt.datetime | None,
    version: int | None,
    max_runtime: float | None,
    allow_shrink: bool,
    accept_gap: bool,
    dry_run: bool,
    json_output: bool,
) -> None:
    """Export feeds from ksqlDB into the data lake.

    Exit codes: 0 all exported, 1 a person must act, 2 wrong usage, 75 nothing lost, try again later.
    """
    settings = load_settings()
    root, now = lake_folder(settings.lake_root), cli.utc_now()
    wish = Wish(full, day.date() if day else None, version, dry_run)
    feeds = _choose(FeedStore(root), everything, streams, tables)
    _check(wish, feeds)
    if not dry_run:
        with disk_errors(root):
            cli.write_log_to(root / "logs", "export_to_data_lake")
    run = Run(
        id=cli.new_run_id(now),
        now=now,
        limits=Limits(settings.quiet_s, settings.stall_s),
        commit_rows=settings.commit_rows,
        grace_hours=settings.expire_grace_hours,
        recheck_s=settings.snapshot_recheck_s,
        max_shrink=1 if allow_shrink else settings.snapshot_max_shrink,
        accept_gap=accept_gap,
        tell=cli.tell,
    )
    with Client(settings.ksqldb_connection()) as client:
        cli.tell(f"ksqlDB {client.server_version()} at {settings.ksqldb_url}")
        results = export_feeds(
            client, root, feeds, run, wish, cli.holder("export_to_data_lake.py", now), max_runtime_s=max_runtime
        )
    if json_output:
        cli.show_json(as_json(results, wish))
    else:
        failed = sum(result.error is not None for result in results)
        rows = sum(result.exported.rows for result in results)
        click.echo(
            f"{cli.plural(len(results) - failed, 'feed')} exported, {cli.plural(rows, 'row')}"
            + (f", {failed} failed" if failed else "")
            if not dry_run
            else "Nothing was changed."
        )
    raise SystemExit(exit_code(results))


if __name__ == "__main__":
    main()
