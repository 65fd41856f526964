"""Commands for one existing feed: show, enable, disable, archive, restore, delete.

Each replaces, moves or removes the feed's file in one step, so a crash leaves the state before it or after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from commands.completion import feed_names
from pipeline import cli, options, scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from data_lake_config import Settings
    from pipeline.feeds import Feed
    from pipeline.lake.lake import Lake


def open_feeds(log: bool = True, begins: bool = False) -> tuple[Settings, Lake]:
    """The settings and the lake; `log` for a command that changes something.

    Only a command that `begins` a lake makes its folder; others raise LakeMissing, because it may just not be mounted.
    """
    from data_lake_config import load_settings

    settings = load_settings()
    lake = settings.lake(cli.tell)
    if begins:
        lake.feeds.make_folders()
    elif log:
        lake.feeds.check_there()
    if log:
        _keep_record(settings, lake)
    return settings, lake


def _keep_record(settings: Settings, lake: Lake) -> None:
    scripts.keep_record(lake, "manage_feeds", cli.utc_now(), settings.lake_log_format)


def _of_a_feed(command: Callable[..., None]) -> click.Command:
    """A command whose first argument is a feed's name."""
    name = getattr(command, "__name__", "")
    confirm = " --confirm" if name == "delete" else ""
    return scripts.command(examples=[f"manage_feeds.py {name} rates{confirm}"])(
        options.feed_name(feed_names())(command)
    )


@_of_a_feed
def show(name: str) -> None:
    """Print one feed as JSON."""
    _, lake = open_feeds(log=False)
    cli.show_json(lake.feeds.get(name).model_dump(mode="json"))


def _set_enabled(name: str, enabled: bool) -> None:
    _, lake = open_feeds()
    lake.feeds.change(name, lambda feed: feed.model_copy(update={"enabled": enabled}))
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
    _, lake = open_feeds()
    lake.feeds.archive(name)
    lake.write_views()
    cli.say(f"archived {name}; its data stays (python manage_feeds.py restore {name})")


@_of_a_feed
def restore(name: str) -> None:
    """Bring an archived feed back."""
    _, lake = open_feeds()
    lake.feeds.restore(name)
    lake.write_views()
    cli.say(f"restored {name}")


@_of_a_feed
@click.option("--confirm", is_flag=True, help="Really delete it.")
@click.option("--data", is_flag=True, help="Delete its data in the lake too. There is no way back.")
def delete(name: str, confirm: bool, data: bool) -> None:
    """Delete a feed. Without --data its rows stay in the lake, and a new feed of that name goes on from them.

    With --data it also deletes the rows that are left of a feed that was deleted without it.
    """
    from pipeline.text import UNCHANGED

    settings, lake = open_feeds(log=False)
    left = lake.left_of(name) if data else []
    if confirm:
        if not left:
            lake.feeds.check_there()
        _keep_record(settings, lake)
    if not left:
        lake.feeds.find(name)
    feeds = left or ([lake.feeds.get_anywhere(name)] if data else [])  # their types say where the data is
    if not confirm:
        click.echo(f"would delete {_described(lake, name, feeds, bool(left))}; add --confirm to do it\n{UNCHANGED}")
        return
    for feed in feeds:
        lake.delete_data(feed, cli.holder("manage_feeds.py delete", cli.utc_now()))
    if not left:
        lake.feeds.delete(name)
    lake.write_views()
    what = f"the data that was left of {name}" if left else name
    cli.say(f"deleted {what}" + ("" if left else " and its data" if data else "; its data stays in the lake"))


def _described(lake: Lake, name: str, feeds: Sequence[Feed], left: bool) -> str:
    """What would be deleted: the feed of that name, the data of these feeds, or both."""
    places = " and ".join(lake.place_of(feed) for feed in feeds)
    if left:
        return f"all data that is left of the deleted feed {name} in {places}"
    return f"the feed {name}" + (f" and all its data in {places}" if feeds else " (its data stays)")


COMMANDS = (show, enable, disable, archive, restore, delete)
