"""The lake: its feeds, their tables, and the one way to write to them.

`writing` locks a feed, removes what a killed run left, lets the caller commit, and then rewrites `_metadata.json` and
`views.sql`. A crash before that leaves the last commit and these two files as they were; the next run writes them, and
then deletes the files that only the old ones named.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import FeedUnknown, PipelineError
from pipeline.feeds import FEED_NAME, Feed, parse_feed
from pipeline.lake.access import StoreAccess
from pipeline.lake.encoding import Compression
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.log import remove_damage, torn_entry
from pipeline.lake.metadata import is_described, write_metadata
from pipeline.lake.names import name_of_feed
from pipeline.lake.run_log import open_run_log
from pipeline.lake.runs import RunLedger
from pipeline.lake.store import Hold, Space, Store, disk_errors
from pipeline.lake.stores import open_store
from pipeline.lake.table import VIEWS, LakeTable
from pipeline.lake.views import write_views


class Lake:
    """The lake at `url` (see `stores.open_store`), or in `store`. `tell` is called with warnings for people.

    `grace_hours` is how long files that were removed from a table stay on disk for open readers, `compression` the one
    of new files.
    """

    def __init__(
        self,
        url: str,
        tell: Callable[[str], None],
        grace_hours: int,
        store: Store | None = None,
        compression: Compression = "snappy",
        access: StoreAccess | None = None,
    ) -> None:
        self._store, self._tell, self.grace_hours = store or open_store(url, access or StoreAccess()), tell, grace_hours
        self._compression: Compression = compression
        self.feeds = FeedStore(self._store)

    def __str__(self) -> str:
        return self._store.uri()

    def space(self) -> Space:
        """The space for new files."""
        return self._store.space()

    @property
    def cold_class(self) -> str:
        """See `Store.cold_class`."""
        return self._store.cold_class

    def filesystem(self) -> Any:
        """The file system by which DuckDB finds data files; see `Store.filesystem`."""
        return self._store.filesystem()

    def check_puts(self, name: str) -> bool:
        """Raises StoreNotSafe where two runs could replace each other's commits; see `Store.check_puts`."""
        with disk_errors(self._store.uri()):
            return self._store.check_puts(name)

    def make_folders(self) -> None:
        with disk_errors(self._store.uri()):
            for name in ("feeds/active", "feeds/archived", "streams", "tables", "logs"):
                self._store.make_folder(name)

    def table(self, feed: Feed) -> LakeTable:
        """The feed's table, for reading. Raises LogDamaged."""
        return LakeTable(self._store, feed, self._tell, self._compression)

    @contextlib.contextmanager
    def writing(self, feed: Feed, holder: Mapping[str, str]) -> Iterator[LakeTable]:
        """The feed's table for writing, locked and cleaned; `holder` is shown to a second run that finds it locked.

        Rewrites `_metadata.json` and `views.sql` when the block ends. Raises FeedLocked, LogDamaged, ClockWentBack, and
        the errors of the disk.
        """
        with self._folder(feed).hold(feed.name, holder), contextlib.ExitStack() as session:
            table = LakeTable.for_writing(self._store, feed, self.grace_hours, self._tell, self._compression, session)
            try:
                yield table
            finally:
                self._describe(table, sys.exception())

    def accept_clock(self, feed: Feed, holder: Mapping[str, str], commit_id: str, now: dt.datetime) -> None:
        """Lets the feed go on from `now`, although it has commits of a later time."""
        with self._folder(feed).hold(feed.name, holder):
            for own in (feed, feed.of_unreadable()):
                with disk_errors(self._folder(own).uri()):
                    remove_damage(self._folder(own))
                table = self.table(own)
                if table.exists:
                    table.accept_clock(commit_id, now)

    def kept_beside(self, feed: Feed) -> Feed | None:
        """The feed of the unreadable records that the feed keeps beside its rows; None where there are none, or where
        it keeps none any more.
        """
        beside = feed.of_unreadable()
        return beside if feed.keep_unreadable and self._folder(beside).is_there() else None

    def left_of(self, name: str) -> list[Feed]:
        """A feed for each kind of data that the lake still has of a deleted feed; none where a feed has that name.

        Raises LakeMissing.
        """
        try:
            self.feeds.find(name)
        except FeedUnknown:
            kinds = ("stream", "table") if FEED_NAME.fullmatch(name) else ()
            feeds = [parse_feed({"name": name, "type": kind, "source": name}, name) for kind in kinds]
            return [feed for feed in feeds if any(self._folder(one).is_there() for one in _with_beside(feed))]
        return []

    def delete_data(self, feed: Feed, holder: Mapping[str, str]) -> None:
        """Deletes all rows of the feed, and the records that were kept beside it. There is no way back."""
        beside = self._folder(feed.of_unreadable())
        for folder in (*([beside] if beside.is_there() else []), self._folder(feed)):
            with folder.hold(feed.name, holder), disk_errors(folder.uri()):
                folder.delete_all()

    def place_of(self, feed: Feed) -> str:
        """Where the feed's data is, for people."""
        return self._folder(feed).uri()

    def torn_entry(self, feed: Feed) -> str | None:
        """The newest entry of the feed's log, if another program began to write it and did not finish."""
        folder = self._folder(feed)
        entry = torn_entry(folder)
        return None if entry is None else folder.uri(entry)

    def hold_run(self, holder: Mapping[str, str]) -> AbstractContextManager[Hold]:
        """Holds the lake for one run of all feeds. Raises FeedLocked."""
        return self._store.hold_run(holder)

    def write_views(self) -> str:
        """Writes `views.sql` for all active feeds that have data; returns its text."""
        return write_views(self._store, self.feeds, self.table, self._tell).decode()

    @property
    def runs(self) -> RunLedger:
        """The ledger of the commands that were run on this lake."""
        return RunLedger(self._store)

    def open_log(self, script: str, now: dt.datetime) -> logging.Handler:
        """The log of a script's runs; see `run_log`. Raises LakeNotWritable."""
        return open_run_log(self._store.below("logs"), script, now)

    def _folder(self, feed: Feed) -> Store:
        return self._store.below(f"{feed.kind_folder}/{feed.name}")

    def _describe(self, table: LakeTable, failure: BaseException | None) -> None:
        """Rewrites the files that are derived from the log. If that fails after a `failure`, its message names both."""
        try:
            if table.exists and not (is_described(table) and self._store.size(VIEWS) is not None):
                write_views(self._store, self.feeds, self.table, self._tell, changed=table)
                write_metadata(table)  # last: it vouches that both files describe this log entry
                if table.has_named_leftovers:
                    table.remove_orphans(self.grace_hours)
        except PipelineError as error:
            if failure is None:
                raise
            if isinstance(failure, PipelineError):
                failure.message += f"; besides, {error.message}"


@dataclass(frozen=True)
class Upkeep:
    """What all commands that change feeds between exports need. `run_id` names their commits; `max_share` is the share
    of a feed's rows that may expire at once without a reason (1: all).
    """

    lake: Lake
    holder: Mapping[str, str]
    run_id: str
    now: dt.datetime
    max_share: float

    def numbered(self, index: int) -> Upkeep:
        """For one feed of several, so that each commit has its own name."""
        return replace(self, run_id=name_of_feed(self.run_id, index))


def _with_beside(feed: Feed) -> list[Feed]:
    """The feed, and that of the unreadable records which a stream may keep beside its rows."""
    return [feed, feed.of_unreadable()] if feed.type == "stream" else [feed]
