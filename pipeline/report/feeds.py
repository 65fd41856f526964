"""Feeds as a person or a program reads a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.feeds import Feed
from pipeline.text import as_table


def feeds_json(feeds: Sequence[Feed], archived: Sequence[Feed] | None = None) -> dict[str, Any]:
    """The stable form; with `archived` where these were asked for besides."""
    form: dict[str, Any] = {"schema_version": 1, "feeds": [feed.model_dump(mode="json") for feed in feeds]}
    return form if archived is None else form | {"archived": [feed.model_dump(mode="json") for feed in archived]}


def feeds_lines(feeds: Sequence[Feed], archived: bool, folder: str, put_away: Sequence[Feed] = ()) -> list[str]:
    """A line a feed; it names the source if that is not the feed's name in another case. `put_away` are archived ones
    that are shown besides.
    """
    if not feeds and not put_away:
        return [
            f"no archived feeds in {folder}" if archived else f"no feeds yet in {folder}: python manage_feeds.py sync"
        ]
    rows = [
        [feed.name, feed.type, state, retention_text(feed), "" if feed.source.lower() == feed.name else feed.source]
        for feed, state in [
            *((feed, "on" if feed.enabled else "off") for feed in feeds), *((feed, "archived") for feed in put_away)
        ]
    ]  # fmt: skip
    return as_table(rows, ["feed", "type", "", "retention", "other source"]).splitlines()


def retention_text(feed: Feed) -> str:
    """`365 days`, `7 versions`, `for ever`."""
    parts = [f"{feed.retention_days} days"] if feed.retention_days else []
    parts += [f"{feed.retention_versions} versions"] if feed.retention_versions else []
    return ", ".join(parts) or "for ever"
