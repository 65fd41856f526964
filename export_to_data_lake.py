#!/usr/bin/env python
"""Exports feeds from ksqlDB into the lake: streams append their new rows, tables add a snapshot.

What happens, in this order, for each feed: take its lock; remove what a killed run left; read; commit rows and
progress in one step; expire by the retention rule; compact, where that is set; rewrite `_metadata.json` and
`views.sql`. Killed before the commit the lake is as it was; killed after it, only the steps behind it are missing, and
the next run does them.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

import click

from pipeline import cli, options, scripts

if TYPE_CHECKING:
    import datetime as dt

    from data_lake_config import Settings
    from pipeline.export.commit import Run
    from pipeline.export.run import ExportRequest, FeedResult
    from pipeline.lake.lake import Lake


@click.command(cls=scripts.Command)
@click.option("--all", "everything", is_flag=True, help="Every enabled feed.")
@click.option("--stream", "streams", multiple=True, metavar="FEED", help="A stream feed (repeatable).")
@click.option("--table", "tables", multiple=True, metavar="FEED", help="A table feed (repeatable).")
@click.option("--full", is_flag=True, help="Read streams again from their start and replace what the source still has.")
@click.option("--date", "day", type=options.Day(), help="Read this day of a stream again and replace it.")
@click.option("--version", type=click.IntRange(1), help="Write the table snapshot as this version.")
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Feeds at once (EXPORT_JOBS).")
@click.option("--max-runtime", "max_runtime_s", type=options.Seconds(), metavar="SECONDS", help="Stop by then.")
@click.option("--allow-shrink", is_flag=True, help="Believe a table that lost more rows than usual.")
@click.option("--accept-gap", is_flag=True, help="Go on although the topic has lost rows; the gap is recorded.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@options.json_output
def main(
    everything: bool,
    streams: tuple[str, ...],
    tables: tuple[str, ...],
    jobs: int | None,
    json_output: bool,
    **asked: Any,
) -> None:
    """Export feeds from ksqlDB into the data lake.

    With --all an option counts for the feeds that it fits; with named feeds it must fit each of them.
    Exit codes: 0 all exported, 1 a person must act, 2 wrong usage, 75 nothing lost, try again later.
    """
    from data_lake_config import load_settings
    from pipeline.errors import common_exit_code
    from pipeline.export import run as runs
    from pipeline.export.selection import check_options, choose_feeds
    from pipeline.report import export as report

    settings, now = load_settings(), cli.utc_now()
    lake, request = settings.lake(cli.tell_from_threads()), runs.ExportRequest(**asked)
    feeds, broken = choose_feeds(lake.feeds, everything, streams, tables)
    check_options(request, feeds, everything)
    run, holder = _new_run(settings, lake, request, jobs, now), cli.holder("export_to_data_lake.py", now)
    for_all = everything and not request.dry_run
    alone = lake.hold_run(holder) if for_all else contextlib.nullcontext()
    tell = functools.partial(_tell_result, request)
    with alone, settings.sources() as sources:
        cli.tell(f"ksqlDB {sources.place}")
        results = runs.export_feeds(sources, lake, feeds, run, request, holder, tell)
        archived = runs.expire_archived_feeds(lake, run, holder) if for_all else []
    for past in archived:
        cli.say_error(past.error) if past.error is not None else cli.tell(report.archived_text(past))
    for feed in broken:
        cli.say_error(feed.error)
    results += runs.broken_results(broken)
    cli.show(json_output, report.export_json(results, request, archived), [report.export_text(results, request)])
    errors = [result.error for result in results] + [past.error for past in archived]
    raise SystemExit(common_exit_code(error for error in errors if error is not None))


def _new_run(settings: Settings, lake: Lake, request: ExportRequest, jobs: int | None, now: dt.datetime) -> Run:
    """The run, which is recorded unless it changes nothing."""
    from pipeline.export.commit import Run
    from pipeline.lake.compaction import Goal

    log_format = settings.lake_log_format
    recorded = None if request.dry_run else scripts.keep_record(lake, "export_to_data_lake", now, log_format)
    return Run(
        id=recorded or cli.new_run_id(now),
        now=now,
        limits=settings.limits(),
        commit_rows=settings.commit_rows,
        policy=settings.read_policy(request.allow_shrink),
        max_expire=settings.expire_max_share,
        compact=Goal(settings.compact_target_bytes) if settings.compact_after_export else None,
        accept_gap=request.accept_gap,
        workers=settings.export_workers or os.cpu_count() or 1,
        jobs=jobs or settings.export_jobs,
        scans=settings.ksqldb_scans,
        tell=cli.tell_from_threads(),
    )


def _tell_result(request: ExportRequest, result: FeedResult) -> None:
    from pipeline.report.export import result_text

    if result.error is not None:
        cli.say_error(result.error)
    cli.tell(result_text(result, request))


if __name__ == "__main__":
    scripts.run(main)
