#!/usr/bin/env python
"""Shows what is in the lake, proves it, and keeps it in shape.

Sizes and counts come from the Delta logs. Reading commands change nothing. The others are one commit a feed: killed
before it nothing happened, killed after it only `_metadata.json` and `views.sql` wait for the next run.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline import cli, options
from pipeline.errors import OutputNotWritten, PipelineError, WrongUsage, common_exit_code

if TYPE_CHECKING:
    from data_lake_config import Settings
    from pipeline.lake.lake import Lake, Upkeep

_NOTHING = "Nothing was changed."


def _lake() -> tuple[Settings, Lake]:
    from data_lake_config import load_settings

    settings = load_settings()
    lake = settings.lake(cli.tell)
    lake.feeds.check_there()
    return settings, lake


def _upkeep(lake: Lake, command: str, dry_run: bool = False, max_share: float = 1) -> Upkeep:
    from pipeline.lake.lake import Upkeep

    if not dry_run:
        cli.write_log_to(lake.open_log("metadata_utils"))
    now = cli.utc_now()
    return Upkeep(lake, cli.holder(f"metadata_utils.py {command}", now), cli.new_run_id(now), now, max_share)


def _end(errors: Sequence[PipelineError], wrong: bool = False) -> None:
    for error in {error.message: error for error in errors}.values():
        cli.say_error(error)
    raise SystemExit(1 if wrong else common_exit_code(errors))


@click.group(invoke_without_command=True)
@click.option("--stats", is_flag=True, help="One line a feed (the default).")
@click.option("--report", is_flag=True, help="A block a feed, with partitions and bookmarks.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write the numbers to FILE (- is stdout).")
@click.option("--json", "json_output", is_flag=True, help="Print everything as JSON.")
@click.pass_context
@cli.boundary
def main(context: click.Context, stats: bool, report: bool, csv_file: Path | None, json_output: bool) -> None:
    """Tell what is in the lake. Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later."""
    if options.handed_on(context):
        return
    if stats + report + json_output + (csv_file == Path("-")) > 1:
        raise WrongUsage("--stats, --report, --json and --csv - exclude each other on stdout", "give one of them")
    from pipeline.report import json_forms, text
    from pipeline.report.model import describe_lake
    from pipeline.text import plural

    _, lake = _lake()
    described = describe_lake(lake, *lake.feeds.choose())
    if csv_file is not None:
        try:
            with click.open_file(str(csv_file), "w", encoding="utf-8") as file:
                json_forms.write_csv(described, file)
        except OSError as error:
            problem = f"{csv_file} could not be written: {error.strerror}"
            raise OutputNotWritten(problem, "give --csv another file") from None
        if csv_file != Path("-"):
            cli.tell(f"wrote {plural(len(described.feeds), 'feed')} to {csv_file}")
    if json_output:
        cli.show_json(json_forms.lake_json(described))
    elif report:
        click.echo(text.report_text(described))
    elif described.feeds and (stats or csv_file is None):
        click.echo(text.stats_text(described))
    _end(described.errors)


@main.command()
@click.argument("feed")
@options.json_output
@cli.boundary
def history(feed: str, json_output: bool) -> None:
    """List the commits of a feed, newest first."""
    from pipeline.report import json_forms, model, text

    _, lake = _lake()
    found = model.history_of(lake.table(lake.feeds.get_anywhere(feed)))
    cli.show(json_output, json_forms.history_json(found), [text.history_text(found)])


@main.command()
@click.argument("feeds", nargs=-1)
@click.option("--source", "with_source", is_flag=True, help="Also compare the rows with those at the server.")
@click.option("--warehouse", "with_warehouse", is_flag=True, help="Also compare the warehouse's snapshots.")
@options.json_output
@cli.boundary
def verify(feeds: tuple[str, ...], with_source: bool, with_warehouse: bool, json_output: bool) -> None:
    """Prove files against log for all feeds, or those named. Exits 1 when something is wrong."""
    from pipeline.ksqldb.source import connected
    from pipeline.report import json_forms, text
    from pipeline.source import Limits
    from pipeline.verify.verification import verify_feeds
    from pipeline.warehouse.connection import Connection

    settings, lake = _lake()
    with contextlib.suppress(PipelineError):  # a lake that cannot be written can be verified
        cli.write_log_to(lake.open_log("metadata_utils"))
    source = (lambda: connected(settings.ksqldb_connection())) if with_source else None
    warehouse = (lambda: Connection(settings.mysql_server())) if with_warehouse else None
    found = verify_feeds(lake, *lake.feeds.choose(feeds), Limits(settings.quiet_s, settings.stall_s), source, warehouse)
    cli.show(json_output, json_forms.verification_json(found), [text.verdict_text(one) for one in found.verdicts])
    for feed in found.damaged:
        click.echo(f"hint: python metadata_utils.py repair {feed} says what can be done", err=True)
    _end([error for _, error in found.errors], wrong=bool(found.findings))


@main.command()
@click.argument("table")
@click.option("--to-version", type=click.IntRange(1, 2**31 - 1), required=True)
@cli.boundary
def rollback(table: str, to_version: int) -> None:
    """Publish an old version of a table as the new, current one."""
    from pipeline.lake.rewrite import roll_back

    _, lake = _lake()
    feed = lake.feeds.get(table)
    if feed.type != "table":
        raise WrongUsage(f"{table} is a stream: only tables have versions", "python manage_feeds.py list")
    upkeep = _upkeep(lake, "rollback")
    with lake.writing(feed, upkeep.holder) as lake_table:
        new = roll_back(lake_table, to_version, upkeep.run_id, upkeep.now)
    cli.say(f"{table}: version {to_version} is published again as version {new}")


@main.command()
@click.argument("feeds", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@click.option("--yes", is_flag=True, help="Let go of it although it is more than EXPIRE_MAX_SHARE of a feed's rows.")
@cli.boundary
def expire(feeds: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Let go of partitions past their feed's retention, and of files past their grace period; of archived feeds too."""
    from pipeline.faults import collected
    from pipeline.lake.retention import expire_feed, would_expire
    from pipeline.report import text

    settings, lake = _lake()
    if yes and not feeds:
        raise WrongUsage("--yes is for feeds that are named", "python metadata_utils.py expire FEED --yes")
    chosen, unreadable = lake.feeds.choose(feeds, archived=True)
    errors = [*unreadable]
    upkeep = _upkeep(lake, "expire", dry_run, 1 if yes else settings.expire_max_share)
    for index, feed in enumerate(chosen):
        with collected(feed.name, errors):
            if dry_run:
                cli.say(text.would_expire_text(would_expire(upkeep, feed)))
            else:
                cli.say(text.expired_text(feed.name, expire_feed(upkeep.numbered(index), feed)))
    if dry_run:
        click.echo(_NOTHING)
    _end(errors)


@main.command()
@click.argument("feed")
@click.option("--dry-run", is_flag=True, help="Say what would come back.")
@cli.boundary
def unexpire(feed: str, dry_run: bool) -> None:
    """Bring back what expired, as far as the feed's retention keeps it now and its files are still there."""
    from pipeline.lake.unexpire import returning, unexpire_feed
    from pipeline.report.text import returned_text

    _, lake = _lake()
    chosen, upkeep = lake.feeds.get_anywhere(feed), _upkeep(lake, "unexpire", dry_run)
    if dry_run:
        cli.say(returned_text(feed, returning(lake.table(chosen), upkeep), "would bring back"))
        click.echo(_NOTHING)
    else:
        cli.say(returned_text(feed, unexpire_feed(upkeep, chosen), "brought back"))


@main.command()
@click.argument("feed")
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@click.option("--give-up", is_flag=True, help="Do not read the rows of lost files again: they are given up.")
@click.option("--dry-run", is_flag=True, help="Say what is wrong and what would be done, as without --yes.")
@cli.boundary
def repair(feed: str, yes: bool, give_up: bool, dry_run: bool) -> None:
    """Say what is wrong with a feed's data and what can be done, and do it with --yes. Exits 1 while it is wrong."""
    from pipeline.damage import find_damage
    from pipeline.ksqldb.source import connected
    from pipeline.repair import repair_feed
    from pipeline.source import Limits

    settings, lake = _lake()
    chosen, upkeep = lake.feeds.get_anywhere(feed), _upkeep(lake, "repair", dry_run or not yes)
    damage = find_damage(lake, chosen, upkeep.now)
    if not damage.found:
        click.echo(f"{feed}: nothing to repair")
        return
    if not yes or dry_run:
        click.echo(f"{feed}:\n  " + "\n  ".join(damage.lines()))
        click.echo(f"{_NOTHING} To repair it: python metadata_utils.py repair {feed} --yes")
        raise SystemExit(1)
    source = None if give_up else lambda: connected(settings.ksqldb_connection())
    done = repair_feed(upkeep, chosen, source, Limits(settings.quiet_s, settings.stall_s))
    for line in [*done, *damage.beyond_repair.lines()]:
        cli.say(f"{feed}: {line}")
    raise SystemExit(1 if damage.other else 0)


if __name__ == "__main__":
    cli.run(main)
