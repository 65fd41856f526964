"""Under the feed's lock: remove what a killed run left, act, describe. Every command that changes a feed's data does.

A crash while acting leaves the last commit; a crash before the description leaves `_metadata.json` and `views.sql` as
they were, and the next run writes them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.feeds import Feed
from pipeline.lake.catalog import write_views
from pipeline.lake.lock import hold_feed
from pipeline.lake.metadata import write_metadata
from pipeline.lake.table import LakeTable


@contextlib.contextmanager
def writing(root: Path, feed: Feed, holder: Mapping[str, str], grace_hours: int) -> Iterator[LakeTable]:
    """The feed's table, held. Raises FeedLocked, LogDamaged, and what the disk does."""
    with hold_feed(root / feed.kind_folder / feed.name, feed.name, holder):
        table = LakeTable.for_writing(root, feed, grace_hours)
        try:
            yield table
        finally:
            _describe(root, table, sys.exception())


def _describe(root: Path, table: LakeTable, failure: BaseException | None) -> None:
    """Rewrites what is derived from the log. Where that fails too, `failure` stays the error and tells of both."""
    try:
        if table.exists:
            write_metadata(table)
            write_views(root)
    except PipelineError as error:
        if failure is None:
            raise
        if isinstance(failure, PipelineError):
            failure.message += f"; besides, {error.message}"
