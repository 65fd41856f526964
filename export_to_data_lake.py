#!/usr/bin/env python
"""Exports feeds from ksqlDB into the lake: streams append their new rows, tables add a snapshot.

The steps for each feed, in this order: take its lock; remove what a killed run left; read; commit rows and bookmarks in
one step; expire by the retention rule; compact, if that is set; rewrite `_metadata.json` and `views.sql`. A kill before
the commit leaves the lake as it was; after a later kill the next run does the missing steps. --then-sync and
--then-verify run also if feeds failed: see pipeline/night.py.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import click

from commands import alerting
from commands.completion import feed_option
from commands.export_run import EXAMPLES, GROUPS, new_run, steps_after
from pipeline import cli, options, scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_lake_config import Settings
    from pipeline.export.commit import Run
    from pipeline.export.run import Exported, ExportRequest, FeedResult
    from pipeline.feeds import Feed
    from pipeline.lake.lake import Lake
    from pipeline.night import AfterExport


@click.command(cls=scripts.Command, groups=GROUPS, examples=EXAMPLES)
@click.option("--all", "everything", is_flag=True, help="Every enabled feed.")
@feed_option("stream", "A stream feed (repeatable).")
@feed_option("table", "A table feed (repeatable).")
@click.option("--full", is_flag=True, help="Read streams again from their start and replace what the source still has.")
@click.option("--date", "day", type=options.Day(), help="Read this day of a stream again and replace it.")
@click.option("--version", type=click.IntRange(1), help="Write the table snapshot as this version.")
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Feeds at once (EXPORT_JOBS).")
@click.option("--max-runtime", "max_runtime_s", type=options.Seconds(), metavar="SECONDS", help="Stop by then.")
@click.option("--allow-shrink", is_flag=True, help="Believe a table that lost more rows than usual.")
@click.option("--accept-gap", is_flag=True, help="Go on although the topic has lost rows; the gap is recorded.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--then-sync", is_flag=True, help="With --all: then load the tables' newest versions into MySQL.")
@click.option("--then-verify", is_flag=True, help="With --all: then verify what this run committed.")
@alerting.option
@options.json_output
def main(
    everything: bool,
    streams: tuple[str, ...],
    tables: tuple[str, ...],
    jobs: int | None,
    then_sync: bool,
    then_verify: bool,
    alert_command: str | None,
    json_output: bool,
    **asked: Any,
) -> None:
    """Export feeds from ksqlDB into the data lake.

    With --all an option counts for the feeds that it fits; with named feeds it must fit each of them.
    Exit codes: 0 all done, 1 a person must act, 2 wrong usage, 75 nothing lost, try again later.
    """
    alerting.follow(alert_command)
    from data_lake_config import load_settings
    from pipeline.display import showing
    from pipeline.errors import PipelineError
    from pipeline.export import run as runs
    from pipeline.export.selection import check_options, choose_feeds

    settings, now = load_settings(), cli.utc_now()
    lake, request = settings.lake(cli.tell_from_threads()), runs.ExportRequest(**asked)
    feeds, broken = choose_feeds(lake.feeds, everything, streams, tables)
    check_options(request, feeds, everything)
    for_all = everything and not request.dry_run
    steps = steps_after(settings, lake, feeds, for_all, then_sync, then_verify)
    run, holder = new_run(settings, lake, request, jobs, now), cli.holder("export_to_data_lake.py", now)
    with lake.hold_run(holder) if for_all else contextlib.nullcontext(), showing(run.progress):
        try:
            done = _export(settings, lake, feeds, run, request, holder, for_all)
        except PipelineError as error:
            if steps is None:
                raise
            done = runs.Exported(away=error)
        done.results.extend(runs.broken_results(broken))
        after = steps.take(lake, run, cli.tell) if steps else None
    _end(done, after, request, json_output)


def _export(
    settings: Settings,
    lake: Lake,
    feeds: Sequence[Feed],
    run: Run,
    request: ExportRequest,
    holder: dict[str, str],
    for_all: bool,
) -> Exported:
    """Exports the feeds, then expires archived ones. Raises an error that concerns all feeds, as of the connection."""
    from pipeline.export import run as runs

    with settings.sources() as sources:
        cli.tell(f"ksqlDB {sources.place}")
        tell = functools.partial(_tell_result, request)
        results = runs.export_feeds(sources, lake, feeds, run, request, holder, tell)
        return runs.Exported(results, runs.expire_archived_feeds(lake, run, holder) if for_all else [])


def _end(done: Exported, after: AfterExport | None, request: ExportRequest, json_output: bool) -> None:
    """Prints the results and exits with one code for all of them."""
    from pipeline.errors import common_exit_code
    from pipeline.report import export as report

    form = report.export_json(done.results, request, done.archived)
    lines = report.export_lines(done.results, request, cli.utc_now())
    if after is not None:
        from pipeline.report import night

        form, lines = form | night.after_json(after, done.away), [*lines, *night.after_lines(after)]
    for past in done.archived:
        if past.error is None:
            cli.tell(report.archived_text(past))
    for error in [*done.unsaid, *(after.errors if after else ())]:
        cli.say_error(error)
    cli.show(json_output, form, lines)
    errors = [*done.errors, *(after.errors if after else ())]
    raise SystemExit(1 if after and after.is_wrong else common_exit_code(errors))


def _tell_result(request: ExportRequest, result: FeedResult) -> None:
    from pipeline.report.export import result_text

    if result.error is not None:
        cli.say_error(result.error)
    cli.tell(result_text(result, request))


if __name__ == "__main__":
    scripts.run(main)
