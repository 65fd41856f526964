"""Which stream or table a feed reads, and what of a stream is due. Nothing is changed, and no row is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.errors import SourceUnknown, TopicChanged
from pipeline.feeds import Feed
from pipeline.lake.table import LakeTable
from pipeline.once import gaps_before
from pipeline.source import (
    NEW_ROWS,
    UNKNOWN,
    Bookmark,
    Limits,
    Offsets,
    Plan,
    Source,
    Sources,
    StreamSource,
    TableSource,
    Task,
    Wanted,
)


def stream_of(sources: Sources, table: LakeTable) -> StreamSource:
    """The feed's stream.

    Raises SourceUnknown when it is a table at the source, TopicChanged when it reads another topic now.
    """
    found = sources.find(table.feed.source)
    if found.kind != "stream":
        raise _of_other_kind(found.source, table.feed)
    if table.exists and table.topic != found.source.topic:
        raise TopicChanged(
            f"{found.source.name} now reads the topic {found.source.topic}; the lake's rows are from {table.topic}",
            f"python manage_feeds.py archive {table.feed.name}, then add a new feed for it",
        )
    return found


def table_of(sources: Sources, feed: Feed) -> TableSource:
    """The feed's table. Raises SourceUnknown when it is a stream at the source."""
    found = sources.find(feed.source)
    if found.kind != "table":
        raise _of_other_kind(found.source, feed)
    return found


def _of_other_kind(source: Source, feed: Feed) -> SourceUnknown:
    return SourceUnknown(
        f"{source.name} is a {source.kind} on the server, but the feed {feed.name} is for a {feed.type}",
        f"python manage_feeds.py delete {feed.name} --confirm, then add it with --type {source.kind}",
    )


def plan_read(
    stream: StreamSource,
    table: LakeTable,
    limits: Limits,
    wanted: Wanted = NEW_ROWS,
    accept_gap: bool = False,
) -> Plan:
    """How the rows at and after the table's bookmarks, or the `wanted` others, will be read.

    `accept_gap` goes on where the topic has already lost rows after a bookmark. Raises TopicChanged for a topic that
    was recreated or lost rows.
    """
    marks, ends = table.bookmarks(), stream.ends()
    whole = Task(table.feed.name, stream.source.topic, marks, ends, wanted, accept_gap)
    gaps_before(whole)
    if not wanted.new:
        whole = dataclasses.replace(whole, ends=_up_to(marks, ends or {}))
    return dataclasses.replace(stream.plan(whole, limits), ends=ends)


def _up_to(marks: Mapping[int, Bookmark], ends: Mapping[int, Offsets]) -> dict[int, Offsets]:
    """The ends of what is in the lake already."""
    starts = {partition: offsets.start for partition, offsets in ends.items()}
    return {p: Offsets(starts.get(p, UNKNOWN), mark.next_offset, 0) for p, mark in marks.items()}
