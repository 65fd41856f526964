"""Feeds that are new or changed: which ones a server has, and whether the next export could read what they say.

A feed that every export would refuse is refused when it is saved, if the lake's rows or the server show the reason.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import (
    FeedExists,
    FeedInvalid,
    PipelineError,
    SchemaChanged,
    TopicChanged,
    TryLater,
    VersionsUsedUp,
    ViewExists,
    WrongUsage,
)
from pipeline.export.preview import preview
from pipeline.feeds import FEED_NAME, Feed, WarehouseMapping, parse_feed
from pipeline.lake.columns import annotated_schema
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.lake import Lake
from pipeline.lake.retention import due
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import check_partition_column
from pipeline.source import OpenSources, Sources
from pipeline.warehouse.proposal import columns_of_table, fact_sql, propose_mapping


@dataclass(frozen=True)
class ProposedTable:
    """The fact table of a table feed: its mapping, present or proposed, and its SQL."""

    feed: Feed
    mapping: WarehouseMapping
    sql: str

    @property
    def is_new(self) -> bool:
        """Whether the feed does not have this mapping yet."""
        return self.mapping != self.feed.warehouse

    def next_steps(self, saved: bool) -> list[str]:
        """Whether the mapping was saved, and what to do next; `saved` says that --save-mapping was given."""
        name, fact = self.feed.name, self.mapping.fact
        lines = []
        if saved and self.is_new:
            lines.append(f"the feed {name} is mapped to {fact}")
        elif saved:
            lines.append(f"the feed {name} keeps its mapping to {fact}; --new-mapping proposes another")
        elif self.is_new:
            lines.append(f"the feed {name} is as it was; --save-mapping writes this mapping into it")
        lines.append(f"next: keep the SQL as sql/10_{fact}.sql, then")
        return [*lines, f"  python sync_to_mysql.py --init-schema --table {name}"]


@dataclass(frozen=True)
class FeedChange:
    """A feed before and after a change of some of its fields."""

    before: Feed
    after: Feed
    fields: tuple[str, ...]

    @property
    def text(self) -> str:
        return ", ".join(f"{field} = {_shown(getattr(self.after, field))}" for field in self.fields)

    def effects(self, lake: Lake, now: dt.datetime, max_expire: float) -> list[str]:
        """What the change means for the rows that are already in the lake."""
        before, after, lines = self.before, self.after, list[str]()
        if after.partitioning != before.partitioning and lake.table(after).files:
            lines += [
                "rows that are in the lake stay under the dates that they have; to put them under the new ones:",
                f"  python export_to_data_lake.py --stream {after.name} --full",
            ]
        if (after.retention_days, after.retention_versions) != (before.retention_days, before.retention_versions):
            with contextlib.suppress(PipelineError):  # the rule is changed, whatever state the lake is in
                outlook = due(lake.table(after), now).outlook(max_expire)
                lines += [outlook] if outlook else []
        return lines


def _shown(value: Any) -> str:
    return (", ".join(value) if isinstance(value, tuple) else str(value or "")) or "none"


def add_missing(
    lake: Lake, defaults: Iterable[Feed], server: OpenSources | None, tell: Callable[[str], None]
) -> list[Feed]:
    """Adds the default feeds that are missing, and with a `server` one for each source that no feed reads yet."""
    added = create_missing(lake.feeds, defaults, tell)
    if server is not None:
        with server() as sources:
            listed = sources.list()
        found, unnamed = feeds_of(listed, lake.feeds.readable())
        added += create_missing(lake.feeds, found, tell)
        for source in unnamed:
            tell(f"skipped {source}: add it by hand under a name of your own")
    return added


def add_feed(lake: Lake, options: Mapping[str, Any], server: OpenSources, tell: Callable[[str], None]) -> Feed:
    """Adds the feed of these options, unless lake or server show that the next export could not read it."""
    feed = feed_of_options(_given(options), "the new feed")
    lake.feeds.refuse_taken(feed)
    _refuse_hot_days_on_a_disk(lake, feed)
    rows = f"delete the rows: python manage_feeds.py delete {feed.name} --data"
    check_readable(lake, feed, server, tell, f"add it under another --name, or {rows}")
    lake.feeds.add(feed)
    return feed


def change_feed(
    lake: Lake, name: str, options: Mapping[str, Any], server: OpenSources, tell: Callable[[str], None]
) -> FeedChange:
    """Changes the fields that options were given for, as `add_feed` adds a feed."""
    given, before = _given(options), lake.feeds.get(name)
    if not given:
        raise WrongUsage("nothing to change was given", "python manage_feeds.py update --help")

    def changed(old: Feed) -> Feed:
        return feed_of_options(old.model_dump() | given, f"the changed feed {name}")

    wanted = changed(before)
    if "hot_days" in given:
        _refuse_hot_days_on_a_disk(lake, wanted)
    if (wanted.partitioning, wanted.read_from) != (before.partitioning, before.read_from):
        check_readable(lake, wanted, server, tell)
    return FeedChange(before, lake.feeds.change(name, changed), tuple(given))


def _refuse_hot_days_on_a_disk(lake: Lake, feed: Feed) -> None:
    if feed.hot_days is not None and not lake.cold_class:
        raise WrongUsage(
            "--hot-days is for a lake in a bucket: a disk has one class of storage",
            "leave --hot-days out; --retention-days says how long rows are kept",
        )


_NUMBERS = ("retention", "hot_", "max_", "min_")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; `none` (which is 0 here) and empty texts count as given: they clear a field."""
    given = {key: value or None if key.startswith(_NUMBERS) else value for key, value in options.items()
             if value is not None and value != ()}  # fmt: skip
    return given | ({"tags": tuple(tag for tag in options["tags"] if tag)} if "tags" in given else {})


def propose_table(lake: Lake, name: str, server: OpenSources, from_scratch: bool) -> ProposedTable:
    """The fact table of a table feed, by its mapping or, without one, by a mapping proposed from its columns."""
    feed = lake.feeds.get(name)
    if feed.type != "table":
        raise WrongUsage(f"{name} is a stream: only tables go into the warehouse", "give the name of a table feed")
    with server() as sources:
        columns = columns_of_table(sources.find(feed.source))
    mapping = feed.warehouse
    if mapping is None or from_scratch:
        mapping = propose_mapping(feed, columns, lake.feeds.readable())
    return ProposedTable(feed, mapping, fact_sql(feed, mapping, columns))


def create_missing(store: FeedStore, wanted: Iterable[Feed], tell: Callable[[str], None]) -> list[Feed]:
    """Adds the feeds whose names are free and returns them; those whose view's name is taken are reported to `tell`."""
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


def feeds_of(sources: Mapping[str, str], known: Sequence[Feed]) -> tuple[list[Feed], list[str]]:
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
    """The feed of these options. Raises WrongUsage for a rule that they break."""
    try:
        return parse_feed(fields, where)
    except FeedInvalid as error:
        raise WrongUsage(error.message, error.hint) from None


def check_readable(
    lake: Lake, feed: Feed, server: OpenSources, tell: Callable[[str], None], other_rows: str = ""
) -> None:
    """Asks the server whether the feed could be exported; a server that does not answer is reported to `tell`.

    `other_rows` is the hint where the lake has rows of a deleted feed that the new one cannot go on from. Raises
    WrongUsage for a source that does not exist, is of the other kind, or cannot be read or partitioned as asked.
    """
    table = lake.table(feed)
    try:
        if table.exists and feed.type == "stream":
            check_partition_column(table.schema, feed.partition_column)
        with contextlib.ExitStack() as stack:
            try:
                sources = stack.enter_context(server())
            except PipelineError as error:
                tell(f"no server was asked whether {feed.source} can be exported so: {error.message}")
                return
            _check_source(sources, table)
    except TryLater as error:
        tell(f"whether {feed.source} can be exported so is not known yet: {error.message}")
    except WrongUsage:
        raise
    except (SchemaChanged, TopicChanged, VersionsUsedUp) as error:
        raise WrongUsage(error.message, other_rows or error.hint) from None
    except PipelineError as error:
        raise WrongUsage(error.message, error.hint) from None


def _check_source(sources: Sources, table: LakeTable) -> None:
    feed, found = table.feed, sources.find(table.feed.source, table.feed.read_from)
    if found.kind != feed.type:
        name = found.source.name
        raise WrongUsage(f"{name} is a {found.kind} on the server, not a {feed.type}", f"--type {found.kind}")
    if found.kind == "stream":
        check_partition_column(annotated_schema(found.columns()), feed.partition_column)
    preview(sources, table)
