"""Which feeds a sync loads, and whether they fill the dimensions that the settings name. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.errors import WrongUsage
from pipeline.feeds import Feed
from pipeline.lake.feed_store import BrokenFeed, FeedStore
from pipeline.warehouse.sources import mapping_of


def choose_feeds(
    store: FeedStore, names: Sequence[str], scd2: Collection[str] = ()
) -> tuple[list[Feed], list[BrokenFeed]]:
    """The named table feeds, or every enabled one with a warehouse mapping; and the feed files that cannot be read.

    Where feeds are named, unreadable files of others are ignored. `scd2` are the dimensions that the settings name.
    """
    found = store.list()
    mapped = [feed for feed in found.feeds if feed.enabled and feed.warehouse is not None]
    feeds = list(store.select(names)) if names else mapped
    for feed in feeds:
        if feed.type != "table":
            raise WrongUsage(
                f"{feed.name} is a {feed.type}: only tables go into the warehouse",
                f"name table feeds: {', '.join(table.name for table in mapped) or 'there are none yet'}",
            )
    if not feeds:
        store.check_there()
        raise WrongUsage("there is no table feed for the warehouse", "python manage_feeds.py sync creates the defaults")
    for feed in feeds:
        mapping_of(feed)
    refuse_unknown_dimensions(store, scd2)
    return feeds, [] if names else list(found.broken)


def refuse_unknown_dimensions(store: FeedStore, scd2: Collection[str]) -> None:
    """Raises WrongUsage for a dimension that no feed fills: with a misspelled name no history would be kept, silently.

    Not checked when a feed cannot be read, which may fill the dimension.
    """
    feeds, broken = store.list()
    if broken:
        return
    known = {feed.warehouse.dimension.table for feed in feeds if feed.warehouse and feed.warehouse.dimension}
    for name in sorted(set(scd2) - known):
        raise WrongUsage(
            f"SCD2_DIMENSIONS names {name}, which no feed fills",
            f"the feeds fill {', '.join(sorted(known)) or 'no dimension'}",
        )
