"""Feeds that are new or changed: which ones a server has, and whether the next export could read what they say.

A feed that every night would refuse is refused when it is written, as far as its rows in the lake and the server tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.errors import FeedExists, FeedInvalid, PipelineError, TryLater, ViewExists, WrongUsage
from pipeline.export.preview import preview
from pipeline.feeds import FEED_NAME, Feed, parse_feed
from pipeline.ksqldb.client import Client, Connection
from pipeline.ksqldb.source import KsqldbSource
from pipeline.lake.columns import annotated_schema
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import check_partition_column
from pipeline.source import Sources


def create_missing(store: FeedStore, wanted: Iterable[Feed], tell: Callable[[str], None]) -> list[Feed]:
    """Adds the feeds whose name no active or archived feed has; returns those added, tells those with a taken view."""
    added = []
    for feed in wanted:
        try:
            store.add(feed)
        except ViewExists as error:
            tell(f"skipped {feed.name}: {error.message}")
        except FeedExists:
            continue
        else:
            added.append(feed)
    return added


def feeds_of(sources: dict[str, str], known: Sequence[Feed]) -> tuple[list[Feed], list[str]]:
    """A feed for each source of the server that no feed reads yet, and the sources that need a name from a person."""
    read = {feed.source.upper() for feed in known}
    views = {view for feed in known for view in feed.view_names}
    found: list[Feed] = []
    unnamed = []
    for source, kind in sorted(sources.items()):
        if source.upper() in read:
            continue
        name = source.lower()
        if FEED_NAME.fullmatch(name) and all(feed.name != name for feed in found):
            feed = parse_feed({"name": name, "type": kind, "source": source}, f"the feed for {source}")
            if views.isdisjoint(feed.view_names):
                views |= set(feed.view_names)
                found.append(feed)
                continue
        unnamed.append(source)
    return found, unnamed


def feed_of_options(fields: dict[str, Any], where: str) -> Feed:
    """The feed of these options; a rule that they break is wrong usage."""
    try:
        return parse_feed(fields, where)
    except FeedInvalid as error:
        raise WrongUsage(error.message, error.hint) from None


def check_readable(lake: Lake, feed: Feed, connection: Connection, tell: Callable[[str], None]) -> None:
    """Asks the server whether the feed could be exported; where none answers, `tell` hears that nobody was asked.

    Raises WrongUsage for a source that is not there, is of the other kind, or cannot be read or partitioned so.
    """
    table = lake.table(feed)
    try:
        if table.exists:
            check_partition_column(table.schema, feed.partition_column)
        with Client(dataclasses.replace(connection, retry_s=0)) as client:
            try:
                client.server_version()
            except PipelineError as error:
                tell(f"no server was asked whether {feed.source} can be exported so: {error.message}")
                return
            _check_source(KsqldbSource(client), table)
    except TryLater as error:
        tell(f"whether {feed.source} can be exported so is not known yet: {error.message}")
    except WrongUsage:
        raise
    except PipelineError as error:
        raise WrongUsage(error.message, error.hint) from None


def _check_source(sources: Sources, table: LakeTable) -> None:
    feed, found = table.feed, sources.find(table.feed.source)
    if found.kind != feed.type:
        name = found.source.name
        raise WrongUsage(f"{name} is a {found.kind} on the server, not a {feed.type}", f"--type {found.kind}")
    if found.kind == "stream":
        check_partition_column(annotated_schema(found.columns()), feed.partition_column)
    preview(sources, table)
