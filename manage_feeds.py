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

import contextlib
from typing import Any

import click

from data_lake_config import DEFAULT_FEEDS, Settings, load_settings
from pipeline import cli
from pipeline.errors import PipelineError, WrongUsage, common_exit_code
from pipeline.feed_changes import check_readable, create_missing, feed_of_options, feeds_of
from pipeline.feeds import MOST_DAYS, MOST_VERSIONS, Feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import find_source, list_sources
from pipeline.lake.feed_store import BrokenFeed, ignored
from pipeline.lake.lake import Lake
from pipeline.lake.retention import due
from pipeline.text import as_table, plural
from pipeline.warehouse.proposal import fact_sql, lake_columns, propose_mapping


def _open(log: bool = False) -> tuple[Settings, Lake]:
    """The settings and the lake; `log` for a command that changes something."""
    settings = load_settings()
    lake = settings.lake(cli.tell)
    if log:
        lake.feeds.make_folders()
        cli.keep_log(lake.open_log, "manage_feeds")
    return settings, lake


@click.group()
def main() -> None:
    """Manage the lake's feeds. Exit codes: 0 done, 1 a person must act, 2 wrong usage, 75 try again later."""


@main.command()
@click.option("--discover", is_flag=True, help="Also add a feed for each stream and table of the server.")
@cli.boundary
def sync(discover: bool) -> None:
    """Create the default feeds that are missing; never changes one that is there."""
    settings, lake = _open(log=True)
    added = create_missing(lake.feeds, DEFAULT_FEEDS, cli.tell)
    if discover:
        with Client(settings.ksqldb_connection()) as client:
            client.server_version()
            sources = list_sources(client)
        known = [feed for archived in (False, True) for feed in lake.feeds.list(archived, ignored)]
        found, unnamed = feeds_of(sources, known)
        added += create_missing(lake.feeds, found, cli.tell)
        for source in unnamed:
            cli.tell(f"skipped {source}: add it by hand under a name of your own")
    for feed in added:
        cli.say(f"added {feed.type} {feed.name}")
    broken = list[BrokenFeed]()
    active = lake.feeds.list(broken=broken.append)
    cli.say(f"{plural(len(added), 'feed')} added, {plural(len(active), 'active feed')}")
    for lost in broken:
        cli.say_error(lost.error)
    raise SystemExit(common_exit_code(lost.error for lost in broken))


@main.command("list")
@click.option("--archived", is_flag=True, help="Show archived feeds instead.")
@click.option("--json", "json_output", is_flag=True, help="Print as JSON.")
@cli.boundary
def list_feeds(archived: bool, json_output: bool) -> None:
    """List feeds."""
    broken = list[BrokenFeed]()
    _, lake = _open()
    feeds = lake.feeds.list(archived, broken.append)
    if not lake.feeds.is_there():
        lake.feeds.check_there()
    rows = [[feed.name, feed.type, "on" if feed.enabled else "off", _retention(feed), feed.source] for feed in feeds]
    if json_output:
        cli.show_json({"schema_version": 1, "feeds": [feed.model_dump(mode="json") for feed in feeds]})
    elif rows:
        click.echo(as_table(rows, ["feed", "type", "", "retention", "source"]))
    elif not broken:
        what = "archived feeds" if archived else "feeds yet"
        click.echo(f"no {what} in {lake.feeds.folder}" + ("" if archived else ": python manage_feeds.py sync"))
    for feed in broken:
        cli.say_error(feed.error)
    raise SystemExit(common_exit_code(feed.error for feed in broken))


@main.command()
@click.argument("name")
@cli.boundary
def show(name: str) -> None:
    """Print one feed as JSON."""
    cli.show_json(_open()[1].feeds.get(name).model_dump(mode="json"))


@main.command()
@cli.boundary
def schema() -> None:
    """Print the JSON Schema of a feed file, for editors."""
    cli.show_json(Feed.model_json_schema())


@main.command()
@click.argument("name")
@click.option("--save-mapping", is_flag=True, help="Also write the mapping into the feed, so that syncs load it.")
@click.option("--anew", is_flag=True, help="Propose a mapping anew where the feed has one.")
@cli.boundary
def ddl(name: str, save_mapping: bool, anew: bool) -> None:
    """Print the SQL of a fact table for a table feed, by its mapping, or by one proposed from ksqlDB's DESCRIBE."""
    settings, lake = _open(log=save_mapping)
    feed = lake.feeds.get(name)
    if feed.type != "table":
        raise WrongUsage(f"{name} is a stream: only tables go into the warehouse", "give the name of a table feed")
    with Client(settings.ksqldb_connection()) as client:
        client.server_version()
        columns = lake_columns(find_source(client, feed.source))
    mapping = feed.warehouse
    if mapping is None or anew:
        mapping = propose_mapping(feed, columns, [*lake.feeds.list(broken=ignored), *lake.feeds.list(True, ignored)])
    click.echo(fact_sql(feed, mapping, columns), nl=False)
    if save_mapping and mapping != feed.warehouse:
        lake.feeds.change(name, lambda feed: feed.model_copy(update={"warehouse": mapping}))
        cli.tell(f"the feed {name} is mapped to {mapping.fact}")
    elif save_mapping:
        cli.tell(f"the feed {name} keeps its mapping to {mapping.fact}; --anew proposes another")
    elif mapping != feed.warehouse:
        cli.tell(f"the feed {name} is as it was; --save-mapping writes this mapping into it")
    cli.tell(f"next: keep the SQL as sql/10_{mapping.fact}.sql, then")
    cli.tell(f"  python sync_to_mysql.py --init-schema --table {name}")


class _OrNone(click.IntRange):
    """A number, or `none`, which is 0 here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return 0 if value == "none" else super().convert(value, param, ctx)


_CHANGEABLE = [
    click.option("--description", help="What it holds, for people."),
    click.option("--partitioning", metavar="RULE", help="Streams: date, or date:COLUMN. Tables: version."),
    click.option(
        "--storage-mode", type=click.Choice(["APPEND", "OVERWRITE"]), help="Streams APPEND, tables OVERWRITE."
    ),
    click.option(
        "--retention-days",
        type=_OrNone(1, MOST_DAYS),
        help="Keep partitions (tables: versions) so many days, or `none`.",
    ),
    click.option(
        "--retention-versions", type=_OrNone(1, MOST_VERSIONS), help="Tables: keep so many versions, or `none`."
    ),
    click.option("--owner", help="Who answers for it."),
    click.option("--tag", "tags", multiple=True, help="A label (repeatable)."),
]


def _changeable(command: Any) -> Any:
    for option in reversed(_CHANGEABLE):
        command = option(command)
    return command


@main.command()
@click.option("--name", required=True, help="Name of the feed; also its folder in the lake.")
@click.option("--type", "type_", type=click.Choice(["stream", "table"]), required=True)
@click.option("--source", required=True, help="The ksqlDB stream or table.")
@_changeable
@cli.boundary
def add(name: str, type_: str, source: str, **fields: Any) -> None:
    """Add a feed."""
    settings, lake = _open(log=True)
    feed = feed_of_options({"name": name, "type": type_, "source": source} | _given(fields), "the new feed")
    lake.feeds.refuse_taken(feed)
    check_readable(lake, feed, settings.ksqldb_connection(), cli.tell)
    lake.feeds.add(feed)
    cli.say(f"added {feed.type} {feed.name}; export it: python export_to_data_lake.py --{feed.type} {feed.name}")


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """What an option was given for, `none` and empty texts too: they clear a field."""
    given = {key: value or None if key.startswith("retention") else value for key, value in fields.items()
             if value is not None and value != ()}  # fmt: skip
    return given | ({"tags": tuple(tag for tag in fields["tags"] if tag)} if "tags" in given else {})


@main.command()
@click.argument("name")
@_changeable
@cli.boundary
def update(name: str, **fields: Any) -> None:
    """Change a feed's description, partitioning, retention, owner or tags. An empty text or `none` clears a field."""
    settings, lake = _open(log=True)
    given, before = _given(fields), lake.feeds.get(name)
    if not given:
        raise WrongUsage("nothing to change was given", "python manage_feeds.py update --help")

    def changed(old: Feed) -> Feed:
        return feed_of_options(old.model_dump() | given, f"the changed feed {name}")

    if (wanted := changed(before)).partitioning != before.partitioning:
        check_readable(lake, wanted, settings.ksqldb_connection(), cli.tell)
    feed = lake.feeds.change(name, changed)
    cli.say(f"updated {name}: " + ", ".join(f"{key} = {_shown(getattr(feed, key))}" for key in given))
    if feed.partitioning != before.partitioning and lake.table(feed).files:
        cli.tell("rows that are in the lake stay under the dates that they have; to put them under the new ones:")
        cli.tell(f"  python export_to_data_lake.py --stream {name} --full")
    if (feed.retention_days, feed.retention_versions) != (before.retention_days, before.retention_versions):
        with contextlib.suppress(PipelineError):  # the rule is changed, whatever state the lake is in
            if told := due(lake.table(feed), cli.utc_now()).outlook(settings.expire_max_share):
                cli.tell(told)


def _shown(value: Any) -> str:
    return (", ".join(value) if isinstance(value, tuple) else str(value or "")) or "none"


def _set_enabled(name: str, enabled: bool) -> None:
    _open(log=True)[1].feeds.change(name, lambda feed: feed.model_copy(update={"enabled": enabled}))
    cli.say(f"{'enabled' if enabled else 'disabled'} {name}")


@main.command()
@click.argument("name")
@cli.boundary
def enable(name: str) -> None:
    """Let --all export the feed again."""
    _set_enabled(name, True)


@main.command()
@click.argument("name")
@cli.boundary
def disable(name: str) -> None:
    """Keep the feed but do not export it."""
    _set_enabled(name, False)


@main.command()
@click.argument("name")
@cli.boundary
def archive(name: str) -> None:
    """Put the feed away; its data stays in the lake."""
    _, lake = _open(log=True)
    lake.feeds.archive(name)
    lake.write_views()
    cli.say(f"archived {name}; its data stays (python manage_feeds.py restore {name})")


@main.command()
@click.argument("name")
@cli.boundary
def restore(name: str) -> None:
    """Bring an archived feed back."""
    _, lake = _open(log=True)
    lake.feeds.restore(name)
    lake.write_views()
    cli.say(f"restored {name}")


@main.command()
@click.argument("name")
@click.option("--confirm", is_flag=True, help="Really delete it.")
@click.option("--data", is_flag=True, help="Delete its data in the lake too. There is no way back.")
@cli.boundary
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


def _retention(feed: Feed) -> str:
    parts = [f"{feed.retention_days} days"] if feed.retention_days else []
    parts += [f"{feed.retention_versions} versions"] if feed.retention_versions else []
    return ", ".join(parts) or "for ever"


if __name__ == "__main__":
    cli.run(main)
