#!/usr/bin/env python
"""Exports feeds from ksqlDB into the lake: streams append their new rows, tables add a snapshot.

What happens, in this order, for each feed: take its lock; remove what a killed run left; read; commit rows and
progress in one step; expire by the retention rule; rewrite `_metadata.json` and `views.sql`. Killed before the commit
the lake is as it was; killed after it, only the last two steps are missing, and the next run does them.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import contextlib
import datetime as dt
from collections.abc import Sequence

import click

from data_lake_config import load_settings
from pipeline import cli
from pipeline.errors import WrongUsage, common_exit_code
from pipeline.export.commit import Run
from pipeline.export.run import ExportRequest, FeedResult, broken_results, expire_archived_feeds, export_feeds
from pipeline.feeds import Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.source import KsqldbSource
from pipeline.lake.feed_store import BrokenFeed, FeedStore
from pipeline.report import export as report
from pipeline.source import Limits


def _choose(
    store: FeedStore, everything: bool, streams: Sequence[str], tables: Sequence[str]
) -> tuple[list[Feed], list[BrokenFeed]]:
    """The feeds to export, and with --all those whose file cannot be read."""
    if everything == bool(streams or tables):
        raise WrongUsage("give either --all, or feeds by --stream and --table", "python export_to_data_lake.py --help")
    if everything:
        broken: list[BrokenFeed] = []
        feeds = [feed for feed in store.list(broken=broken.append) if feed.enabled]
        if not feeds and not broken:
            store.check_there()
            raise WrongUsage(
                f"there is no enabled feed in {store.folder}", "python manage_feeds.py sync creates the default ones"
            )
        return feeds, broken
    chosen = [*store.select(streams, "stream"), *store.select(tables, "table")]
    off = [feed.name for feed in chosen if not feed.enabled]
    if off:
        raise WrongUsage(f"the feed {off[0]} is disabled", f"python manage_feeds.py enable {off[0]}")
    return chosen, []


def _check(request: ExportRequest, feeds: Sequence[Feed], allow_shrink: bool, accept_gap: bool) -> None:
    """Refuses what would count for nothing."""
    streams, tables = (sum(feed.type == kind for feed in feeds) for kind in ("stream", "table"))
    if request.day is not None and request.full:
        raise WrongUsage("--date and --full exclude each other", "give one of them")
    if request.day is not None and tables:
        raise WrongUsage("--date is for streams only", "name them with --stream, without --all and --table")
    if request.version is not None and (streams or tables != 1):
        raise WrongUsage("--version is for one table", "name it with --table")
    if request.full and not streams:
        raise WrongUsage("--full is for streams: a table is read whole each time", "leave out --full")
    if accept_gap and not streams:
        raise WrongUsage("--accept-gap is for streams", "leave out --accept-gap")
    if allow_shrink and not tables:
        raise WrongUsage("--allow-shrink is for tables", "leave out --allow-shrink")
    if request.day is not None and accept_gap:
        raise WrongUsage("--date reads what the lake has already: there is no gap to accept", "leave out --accept-gap")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every enabled feed.")
@click.option("--stream", "streams", multiple=True, metavar="FEED", help="A stream feed (repeatable).")
@click.option("--table", "tables", multiple=True, metavar="FEED", help="A table feed (repeatable).")
@click.option("--full", is_flag=True, help="Read streams again from their start and replace what the source still has.")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Read this day of a stream again and replace it."
)
@click.option("--version", type=click.IntRange(1), help="Write the table snapshot as this version.")
@click.option("--max-runtime", type=cli.Seconds(), metavar="SECONDS", help="Stop by then.")
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
    lake, now = settings.lake(cli.tell), cli.utc_now()
    request = ExportRequest(full, day.date() if day else None, version, dry_run)
    feeds, broken = _choose(lake.feeds, everything, streams, tables)
    _check(request, feeds, allow_shrink, accept_gap)
    if not dry_run:
        cli.write_log_to(lake.open_log("export_to_data_lake"))
    run = Run(
        id=cli.new_run_id(now),
        now=now,
        limits=Limits(settings.quiet_s, settings.stall_s),
        commit_rows=settings.commit_rows,
        policy=settings.read_policy(allow_shrink),
        max_expire=settings.expire_max_share,
        accept_gap=accept_gap,
        tell=cli.tell,
    )
    holder = cli.holder("export_to_data_lake.py", now)
    alone = lake.hold_run(holder) if everything and not dry_run else contextlib.nullcontext()

    def tell(result: FeedResult) -> None:
        if result.error is not None:
            cli.say_error(result.error)
        cli.tell(report.result_text(result, request))

    with alone, Client(settings.ksqldb_connection()) as client:
        cli.tell(f"ksqlDB {client.server_version()} at {settings.ksqldb_url}")
        results = export_feeds(KsqldbSource(client), lake, feeds, run, request, holder, tell, max_runtime)
        archived = expire_archived_feeds(lake, run, holder) if everything and not dry_run else []
    for past in archived:
        cli.say_error(past.error) if past.error is not None else cli.tell(report.archived_text(past))
    for feed in broken:
        cli.say_error(feed.error)
    results += broken_results(broken)
    if json_output:
        cli.show_json(report.export_json(results, request, archived))
    else:
        cli.say(report.export_text(results, request))
    errors = [result.error for result in results] + [past.error for past in archived]
    raise SystemExit(common_exit_code(error for error in errors if error is not None))


if __name__ == "__main__":
    cli.run(main)
