"""Which feeds a run exports, and whether the options apply to each of them. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import WrongUsage
from pipeline.export.run import ExportRequest
from pipeline.feeds import Feed
from pipeline.lake.feed_store import BrokenFeed, FeedStore


def choose_feeds(
    store: FeedStore, everything: bool, streams: Sequence[str], tables: Sequence[str]
) -> tuple[list[Feed], list[BrokenFeed]]:
    """The named feeds, or every enabled one; and the feed files that cannot be read."""
    if everything == bool(streams or tables):
        raise WrongUsage("give either --all, or feeds by --stream and --table", "python export_to_data_lake.py --help")
    if everything:
        found = store.list()
        feeds, broken = [feed for feed in found.feeds if feed.enabled], list(found.broken)
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


def check_options(request: ExportRequest, feeds: Sequence[Feed], everything: bool) -> None:
    """Raises WrongUsage for an option that applies to none of the feeds, or not to a feed that was named."""
    streams = [feed for feed in feeds if feed.type == "stream"]
    tables = [feed for feed in feeds if feed.type == "table"]
    if request.day is not None:
        if request.full:
            raise WrongUsage("--date and --full exclude each other", "give one of them")
        if tables:
            raise WrongUsage("--date is for streams only", "name them with --stream, without --all and --table")
        if request.accept_gap:
            raise WrongUsage(
                "--date reads what the lake has already: there is no gap to accept", "leave out --accept-gap"
            )
    if request.version is not None and (streams or len(tables) != 1):
        raise WrongUsage("--version is for one table", "name it with --table")
    for option, given, kind, fitting, others in (
        ("--full", request.full, "streams", streams, tables),
        ("--accept-gap", request.accept_gap, "streams", streams, tables),
        ("--allow-shrink", request.allow_shrink, "tables", tables, streams),
    ):
        if given and not fitting:
            why = ": a table is read whole each time" if option == "--full" else ""
            raise WrongUsage(f"{option} is for {kind}{why}", f"leave out {option}")
        if given and others and not everything:
            raise WrongUsage(
                f"{option} is for {kind}, and {others[0].name} is a {others[0].type}",
                f"export {others[0].name} by a command of its own, without {option}",
            )
