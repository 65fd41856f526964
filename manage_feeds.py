#!/usr/bin/env python
"""Manages feeds: which ksqlDB streams and tables the lake keeps, and how.

A feed is one JSON file in `feeds/active` of the lake; archiving moves it to `feeds/archived`. Each command replaces
one file whole, so a crash leaves every feed as it was or as it was meant to be. Data in the lake is never touched
here, except by `delete --data`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import functools
from typing import TYPE_CHECKING, Any

import click

from pipeline import cli, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_lake_config import Settings
    from pipeline.lake.feed_store import BrokenFeed
    from pipeline.lake.lake import Lake
    from pipeline.source import OpenSources


def _open(log: bool = False) -> tuple[Settings, Lake]:
    """The settings and the lake; `log` for a command that changes something."""
    from data_lake_config import load_settings

    settings = load_settings()
    lake = settings.lake(cli.tell)
    if log:
        lake.feeds.make_folders()
        cli.keep_log(lake.open_log, "manage_feeds")
    return settings, lake


def _server(settings: Settings, wait: bool = True) -> OpenSources:
    """The server of the feeds; without `wait` it is asked only if it answers at once."""
    from pipeline.ksqldb.source import connected

    return functools.partial(connected, settings.ksqldb_connection(), wait)


@click.group()
def main() -> None:
    """Manage the lake's feeds. Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later."""


def _of_a_feed(command: Callable[..., None]) -> click.Command:
    """A command whose first argument is a feed's name."""
    return main.command()(click.argument("name")(cli.boundary(command)))


@main.command()
@click.option("--discover", is_flag=True, help="Also add a feed for each stream and table of the server.")
@cli.boundary
def sync(discover: bool) -> None:
    """Create the default feeds that are missing; never changes one that is there."""
    from data_lake_config import DEFAULT_FEEDS
    from pipeline.feed_changes import add_missing
    from pipeline.text import plural

    settings, lake = _open(log=True)
    added = add_missing(lake, DEFAULT_FEEDS, _server(settings) if discover else None, cli.tell)
    for feed in added:
        cli.say(f"added {feed.type} {feed.name}")
    broken: list[BrokenFeed] = []
    cli.say(f"{plural(len(added), 'feed')} added, {plural(len(lake.feeds.list(broken=broken.append)), 'active feed')}")
    cli.end_with(lost.error for lost in broken)


@main.command("list")
@click.option("--archived", is_flag=True, help="Show archived feeds instead.")
@options.json_output
@cli.boundary
def list_feeds(archived: bool, json_output: bool) -> None:
    """List feeds."""
    from pipeline.report.feeds import feeds_json, feeds_lines

    _, lake = _open()
    broken: list[BrokenFeed] = []
    feeds = lake.feeds.list(archived, broken.append)
    if not lake.feeds.is_there():
        lake.feeds.check_there()
    if json_output or feeds or not broken:
        cli.show(json_output, feeds_json(feeds), feeds_lines(feeds, archived, str(lake.feeds.folder)))
    cli.end_with(lost.error for lost in broken)


@_of_a_feed
def show(name: str) -> None:
    """Print one feed as JSON."""
    cli.show_json(_open()[1].feeds.get(name).model_dump(mode="json"))


@main.command()
@cli.boundary
def schema() -> None:
    """Print the JSON Schema of a feed file, for editors."""
    from pipeline.feeds import Feed

    cli.show_json(Feed.model_json_schema())


@_of_a_feed
@click.option("--save-mapping", is_flag=True, help="Also write the mapping into the feed, so that syncs load it.")
@click.option("--new-mapping", is_flag=True, help="Propose another mapping where the feed has one.")
def ddl(name: str, save_mapping: bool, new_mapping: bool) -> None:
    """Print the SQL of a fact table for a table feed, by its mapping, or by one proposed from ksqlDB's DESCRIBE."""
    from pipeline.feed_changes import propose_table

    settings, lake = _open(log=save_mapping)
    proposed = propose_table(lake, name, _server(settings), from_scratch=new_mapping)
    click.echo(proposed.sql, nl=False)
    if save_mapping and proposed.is_new:
        lake.feeds.change(name, lambda feed: feed.model_copy(update={"warehouse": proposed.mapping}))
    for line in proposed.next_steps(saved=save_mapping):
        cli.tell(line)


@main.command()
@click.option("--name", required=True, help="Name of the feed; also its folder in the lake.")
@click.option("--type", type=click.Choice(["stream", "table"]), required=True)
@click.option("--source", required=True, help="The ksqlDB stream or table.")
@options.feed_fields
@cli.boundary
def add(**fields: Any) -> None:
    """Add a feed."""
    from pipeline.feed_changes import add_feed

    settings, lake = _open(log=True)
    feed = add_feed(lake, fields, _server(settings, wait=False), cli.tell)
    cli.say(f"added {feed.type} {feed.name}; export it: python export_to_data_lake.py --{feed.type} {feed.name}")


@_of_a_feed
@options.feed_fields
def update(name: str, **fields: Any) -> None:
    """Change a feed's description, partitioning, retention, owner or tags. An empty text or `none` clears a field."""
    from pipeline.feed_changes import change_feed

    settings, lake = _open(log=True)
    change = change_feed(lake, name, fields, _server(settings, wait=False), cli.tell)
    cli.say(f"updated {name}: {change.text}")
    for line in change.effects(lake, cli.utc_now(), settings.expire_max_share):
        cli.tell(line)


def _set_enabled(name: str, enabled: bool) -> None:
    _open(log=True)[1].feeds.change(name, lambda feed: feed.model_copy(update={"enabled": enabled}))
    cli.say(f"{'enabled' if enabled else 'disabled'} {name}")


@_of_a_feed
def enable(name: str) -> None:
    """Let --all export the feed again."""
    _set_enabled(name, True)


@_of_a_feed
def disable(name: str) -> None:
    """Keep the feed but do not export it."""
    _set_enabled(name, False)


@_of_a_feed
def archive(name: str) -> None:
    """Put the feed away; its data stays in the lake."""
    _, lake = _open(log=True)
    lake.feeds.archive(name)
    lake.write_views()
    cli.say(f"archived {name}; its data stays (python manage_feeds.py restore {name})")


@_of_a_feed
def restore(name: str) -> None:
    """Bring an archived feed back."""
    _, lake = _open(log=True)
    lake.feeds.restore(name)
    lake.write_views()
    cli.say(f"restored {name}")


@_of_a_feed
@click.option("--confirm", is_flag=True, help="Really delete it.")
@click.option("--data", is_flag=True, help="Delete its data in the lake too. There is no way back.")
def delete(name: str, confirm: bool, data: bool) -> None:
    """Delete a feed. Without --data its rows stay in the lake, and a new feed of that name goes on from them."""
    _, lake = _open(log=confirm)
    lake.feeds.find(name)
    feed = lake.feeds.get_anywhere(name) if data else None  # its type says where its data is
    if not confirm:
        all_data = f" and all its data in {lake.place_of(feed)}" if feed is not None else " (its data stays)"
        click.echo(f"would delete the feed {name}{all_data}; add --confirm to do it\nNothing was changed.")
        return
    if feed is not None:
        lake.delete_data(feed, cli.holder("manage_feeds.py delete", cli.utc_now()))
    lake.feeds.delete(name)
    lake.write_views()
    cli.say(f"deleted {name}" + (" and its data" if data else "; its data stays in the lake"))


if __name__ == "__main__":
    cli.run(main)
