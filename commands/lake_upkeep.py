"""Commands that maintain a lake: rollback, expire, unexpire, repair.

Each makes one commit a feed: a kill before it changes nothing; after a kill behind it the next run rewrites
`_metadata.json` and `views.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from commands.completion import feed_names
from pipeline import cli, scripts
from pipeline.errors import WrongUsage

if TYPE_CHECKING:
    from data_lake_config import Settings
    from pipeline.lake.lake import Lake, Upkeep


def open_lake() -> tuple[Settings, Lake]:
    """The settings, and the existing lake. Raises LakeMissing."""
    from data_lake_config import load_settings

    settings = load_settings()
    lake = settings.lake(cli.tell)
    lake.feeds.check_there()
    return settings, lake


def upkeep_of(opened: tuple[Settings, Lake], command: str, dry_run: bool = False, max_share: float = 1) -> Upkeep:
    from pipeline.lake.lake import Upkeep

    (settings, lake), now, script = opened, cli.utc_now(), "metadata_utils"
    run_id = cli.new_run_id(now) if dry_run else scripts.keep_record(lake, script, now, settings.lake_log_format)
    return Upkeep(lake, cli.holder(f"{script}.py {command}", now), run_id, now, max_share)


@scripts.command(examples=["metadata_utils.py rollback rates --to-version 3"])
@click.argument("table", shell_complete=feed_names("table"))
@click.option(
    "--to-version",
    type=click.IntRange(1, 2**31 - 1),
    required=True,
    help="The version whose rows are published again.",
)
def rollback(table: str, to_version: int) -> None:
    """Publish an old version of a table as the new, current one."""
    from pipeline.display import working
    from pipeline.lake.rewrite import roll_back_feed

    opened = _, lake = open_lake()
    chosen, upkeep = lake.feeds.get(table), upkeep_of(opened, "rollback")
    with working(table, "publishing again"):
        new = roll_back_feed(upkeep, chosen, to_version)
    cli.say(f"{table}: version {to_version} is published again as version {new}")


@scripts.command(examples=["metadata_utils.py expire --dry-run", "metadata_utils.py expire rates --yes"])
@click.argument("feeds", nargs=-1, shell_complete=feed_names())
@click.option("--dry-run", is_flag=True, help="Show what would expire.")
@click.option("--yes", is_flag=True, help="Expire also more than EXPIRE_MAX_SHARE of a feed's rows.")
def expire(feeds: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Remove partitions past their feed's retention, and files past their grace period; of archived feeds too."""
    from pipeline.display import working
    from pipeline.faults import collected
    from pipeline.lake.retention import expire_feed, would_expire
    from pipeline.report import text
    from pipeline.text import UNCHANGED

    opened = settings, lake = open_lake()
    if yes and not feeds:
        raise WrongUsage("--yes is for feeds that are named", "python metadata_utils.py expire FEED --yes")
    chosen, unreadable = lake.feeds.choose(feeds, archived=True)
    errors, upkeep = [*unreadable], upkeep_of(opened, "expire", dry_run, 1 if yes else settings.expire_max_share)
    for index, feed in enumerate(chosen):
        with collected(feed.name, errors):
            with working(feed.name, "expiring"):
                if dry_run:
                    said = "\n".join(map(text.would_expire_text, would_expire(upkeep, feed)))
                else:
                    said = text.expired_text(feed, expire_feed(upkeep.numbered(index), feed))
            cli.say(said)
    if dry_run:
        click.echo(UNCHANGED)
    cli.end_with(errors)


@scripts.command(examples=["metadata_utils.py unexpire transaction_stream --dry-run"])
@click.argument("feed", shell_complete=feed_names())
@click.option("--dry-run", is_flag=True, help="Show what would come back.")
def unexpire(feed: str, dry_run: bool) -> None:
    """Bring back what expired, as far as the feed's retention keeps it now and its files are still there."""
    from pipeline.display import working
    from pipeline.lake.unexpire import unexpire_feed, would_return
    from pipeline.report import text
    from pipeline.text import UNCHANGED

    opened = _, lake = open_lake()
    chosen, upkeep = lake.feeds.get_anywhere(feed), upkeep_of(opened, "unexpire", dry_run)
    with working(feed, "bringing back"):
        found = would_return(upkeep, chosen) if dry_run else unexpire_feed(upkeep, chosen)
    cli.say(text.returned_text(chosen, found, "would bring back" if dry_run else "brought back"))
    if dry_run:
        click.echo(UNCHANGED)


@scripts.command(examples=["metadata_utils.py repair rates", "metadata_utils.py repair rates --yes"])
@click.argument("feed", shell_complete=feed_names())
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@click.option("--give-up", is_flag=True, help="Do not read the rows of lost files again: they are given up.")
@click.option("--dry-run", is_flag=True, help="Say what is wrong and what would be done, as without --yes.")
def repair(feed: str, yes: bool, give_up: bool, dry_run: bool) -> None:
    """Say what is wrong with a feed's data and what can be done, and do it with --yes. Exits 1 while it is wrong."""
    from pipeline.damage import find_damage
    from pipeline.display import working
    from pipeline.repair import repair_feed
    from pipeline.text import UNCHANGED

    opened = settings, lake = open_lake()
    chosen, upkeep = lake.feeds.get_anywhere(feed), upkeep_of(opened, "repair", dry_run or not yes)
    with working(feed, "verifying") as meter:
        damage = find_damage(lake, chosen, upkeep.now, meter)
    if not damage.found:
        click.echo(f"{feed}: nothing to repair")
        return
    if not yes or dry_run:
        click.echo(f"{feed}:\n  " + "\n  ".join(damage.lines(give_up)))
        way = "--give-up --yes" if give_up else "--yes"
        click.echo(f"{UNCHANGED} To repair it: python metadata_utils.py repair {feed} {way}")
        raise SystemExit(1)
    source = None if give_up else settings.sources
    with working(feed, "repairing") as meter:
        done = repair_feed(upkeep, chosen, source, settings.limits(), meter)
    for line in [*done, *damage.beyond_repair.lines()]:
        cli.say(f"{feed}: {line}")
    raise SystemExit(1 if damage.other else 0)


COMMANDS = (rollback, expire, unexpire, repair)
