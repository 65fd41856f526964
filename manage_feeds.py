#!/usr/bin/env python
"""Manages feeds: which ksqlDB streams and tables the lake keeps, and how.

A feed is one JSON file in `feeds/active` of the lake; archiving moves it to `feeds/archived`. Each command replaces
one file in one step, so a crash leaves the old feed or the new one. Only `delete --data` touches data in the lake.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import functools
from typing import TYPE_CHECKING, Any

import click

from commands import feed_files
from commands.completion import feed_names
from commands.feed_files import open_feeds
from pipeline import cli, options, scripts

if TYPE_CHECKING:
    from data_lake_config import Settings
    from pipeline.source import OpenSources


def _server(settings: Settings, wait: bool = True) -> OpenSources:
    """The server of the feeds; without `wait` there are no retries for a server that is not ready."""
    return functools.partial(settings.sources, wait)


@click.group(cls=scripts.Group, examples=["manage_feeds.py sync", "manage_feeds.py list"])
def main() -> None:
    """Manage the lake's feeds. Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later."""


@main.command(examples=["manage_feeds.py sync", "manage_feeds.py sync --discover"])
@click.option("--discover", is_flag=True, help="Also add a feed for each stream and table of the server.")
def sync(discover: bool) -> None:
    """Create the default feeds that are missing; never changes one that is there."""
    from data_lake_config import DEFAULT_FEEDS
    from pipeline.feed_changes import add_missing
    from pipeline.text import plural

    settings, lake = open_feeds(begins=True)
    added = add_missing(lake, DEFAULT_FEEDS, _server(settings) if discover else None, cli.tell)
    for feed in added:
        cli.say(f"added {feed.type} {feed.name}")
    found = lake.feeds.list()
    cli.say(f"{plural(len(added), 'feed')} added, {plural(len(found.feeds), 'active feed')}")
    cli.end_with(found.errors)


@main.command("list", examples=["manage_feeds.py list", "manage_feeds.py list --archived --json"])
@click.option("--archived", is_flag=True, help="Show archived feeds instead.")
@click.option("--all", "everything", is_flag=True, help="Show archived feeds too.")
@options.json_output
def list_feeds(archived: bool, everything: bool, json_output: bool) -> None:
    """List feeds."""
    from pipeline.report.feeds import feeds_json, feeds_lines

    _, lake = open_feeds(log=False)
    feeds, broken = found = lake.feeds.list(archived)
    put_away, others = lake.feeds.list(archived=True) if everything and not archived else ((), ())
    if not lake.feeds.is_there():
        lake.feeds.check_there()
    if json_output or feeds or put_away or not broken:
        lines = feeds_lines(feeds, archived, lake.feeds.folder, put_away)
        cli.show(json_output, feeds_json(feeds, put_away if everything else None), lines)
    cli.end_with([*found.errors, *(lost.error for lost in others)])


@main.command(examples=["manage_feeds.py schema > feed.schema.json"])
def schema() -> None:
    """Print the JSON Schema of a feed file, for editors."""
    from pipeline.feeds import Feed

    cli.show_json(Feed.model_json_schema())


@main.command(examples=["manage_feeds.py ddl rates > sql/20_rates.sql", "manage_feeds.py ddl rates --save-mapping"])
@options.feed_name(feed_names(archived=False))
@click.option("--save-mapping", is_flag=True, help="Also write the mapping into the feed, so that syncs load it.")
@click.option("--new-mapping", is_flag=True, help="Propose another mapping where the feed has one.")
def ddl(name: str, save_mapping: bool, new_mapping: bool) -> None:
    """Print the SQL of a fact table for a table feed, by its mapping, or by one proposed from ksqlDB's DESCRIBE."""
    from pipeline.feed_changes import propose_table

    settings, lake = open_feeds(log=save_mapping)
    proposed = propose_table(lake, name, _server(settings), from_scratch=new_mapping)
    click.echo(proposed.sql, nl=False)
    if save_mapping and proposed.is_new:
        lake.feeds.change(name, lambda feed: feed.model_copy(update={"warehouse": proposed.mapping}))
    for line in proposed.next_steps(saved=save_mapping):
        cli.tell(line)


@main.command(
    groups=options.FEED_GROUPS,
    examples=["manage_feeds.py add --name rates --type table --source EXCHANGE_RATES"],
)
@click.option("--name", required=True, help="Name of the feed; also its folder in the lake.")
@click.option("--type", type=click.Choice(["stream", "table"]), required=True, help="Stream or table.")
@click.option("--source", required=True, help="The ksqlDB stream or table.")
@options.feed_fields
def add(**fields: Any) -> None:
    """Add a feed."""
    from pipeline.feed_changes import add_feed

    settings, lake = open_feeds(begins=True)
    feed = add_feed(lake, fields, _server(settings, wait=False), cli.tell)
    cli.say(f"added {feed.type} {feed.name}; export it: python export_to_data_lake.py --{feed.type} {feed.name}")


@main.command(
    groups=options.FEED_GROUPS,
    examples=[
        "manage_feeds.py update rates --retention-versions 60",
        "manage_feeds.py update rates --owner finance",
    ],
)
@options.feed_name(feed_names(archived=False))
@options.feed_fields
def update(name: str, **fields: Any) -> None:
    """Change a feed's description, partitioning, retention, owner or tags. An empty text or `none` clears a field."""
    from pipeline.feed_changes import change_feed

    settings, lake = open_feeds()
    change = change_feed(lake, name, fields, _server(settings, wait=False), cli.tell)
    cli.say(f"updated {name}: {change.text}")
    for line in change.effects(lake, cli.utc_now(), settings.expire_max_share):
        cli.tell(line)


for command in feed_files.COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    scripts.run(main)
