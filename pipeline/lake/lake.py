"""The lake: its feeds, their tables, and the one way to write to them.

`writing` holds a feed, removes what a killed run left, lets the caller act, and describes what is there then. A crash
while acting leaves the last commit; a crash before the description leaves `_metadata.json` and `views.sql` as they
were, and the next run writes them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from pipeline.errors import PipelineError
from pipeline.feeds import Feed
from pipeline.lake.encoding import Compression
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.local_store import LocalStore, lake_folder
from pipeline.lake.log import torn_entry
from pipeline.lake.metadata import is_described, write_metadata
from pipeline.lake.names import name_of_feed
from pipeline.lake.run_log import open_run_log
from pipeline.lake.runs import RunLedger
from pipeline.lake.store import Hold, Space, Store, disk_errors
from pipeline.lake.table import VIEWS, LakeTable
from pipeline.lake.views import write_views


class Lake:
    """The lake at `url`, in that folder of a local disk or in `store`. `tell` hears what people should know on the way.

    `grace_hours` is how long files that left a table stay for open readers, `compression` that of new files.
    """

    def __init__(
        self,
        url: str,
        tell: Callable[[str], None],
        grace_hours: int,
        store: Store | None = None,
        compression: Compression = "snappy",
    ) -> None:
        self._store, self._tell, self.grace_hours = store or LocalStore(lake_folder(url)), tell, grace_hours
        self._compression: Compression = compression
        self.feeds = FeedStore(self._store)

    def __str__(self) -> str:
        return self._store.uri()

    def space(self) -> Space:
        """What there is for new files."""
        return self._store.space()

    def make_folders(self) -> None:
        with disk_errors(self._store.uri()):
            for name in ("feeds/active", "feeds/archived", "streams", "tables", "logs"):
                self._store.make_folder(name)

    def table(self, feed: Feed) -> LakeTable:
        """The feed's table, to be read. Raises LogDamaged."""
        return LakeTable(self._store, feed, self._tell, self._compression)

    @contextlib.contextmanager
    def writing(self, feed: Feed, holder: Mapping[str, str]) -> Iterator[LakeTable]:
        """The feed's table, held and cleaned; described in the end. `holder` is shown to whoever comes second.

        Raises FeedLocked, LogDamaged, ClockWentBack, and what the disk does.
        """
        with self._folder(feed).hold(feed.name, holder), contextlib.ExitStack() as session:
            table = LakeTable.for_writing(self._store, feed, self.grace_hours, self._tell, self._compression, session)
            try:
                yield table
            finally:
                self._describe(table, sys.exception())

    def accept_clock(self, feed: Feed, holder: Mapping[str, str], commit_id: str, now: dt.datetime) -> None:
        """Has the feed go on from `now`, although commits of a later time are there."""
        with self._folder(feed).hold(feed.name, holder):
            for table in (self.table(feed), self.table(feed.of_unreadable())):
                if table.exists:
                    table.accept_clock(commit_id, now)

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
        """The newest entry of the feed's log, where another program began it and did not end it."""
        folder = self._folder(feed)
        entry = torn_entry(folder)
        return None if entry is None else folder.uri(entry)

    def hold_run(self, holder: Mapping[str, str]) -> AbstractContextManager[Hold]:
        """Holds the lake for one run of all feeds. Raises FeedLocked."""
        return self._store.hold_run(holder)

    def write_views(self) -> str:
        """Writes `views.sql` for all active feeds that have data; returns its text."""
        return write_views(self._store, self.feeds, self.table, self._tell)

    @property
    def runs(self) -> RunLedger:
        """Which commands were run on this lake."""
        return RunLedger(self._store)

    def open_log(self, script: str, now: dt.datetime) -> logging.Handler:
        """Where a script's runs keep what they say; see `run_log`. Raises LakeNotWritable."""
        return open_run_log(self._store.below("logs"), script, now)

    def _folder(self, feed: Feed) -> Store:
        return self._store.below(f"{feed.kind_folder}/{feed.name}")

    def _describe(self, table: LakeTable, failure: BaseException | None) -> None:
        """Rewrites what is derived from the log. Where that fails too, `failure` stays the error and names both."""
        try:
            if table.exists and not (is_described(table) and self._store.size(VIEWS) is not None):
                write_views(self._store, self.feeds, self.table, self._tell, changed=table)
                write_metadata(table)  # last: it says that both are of this state of the log
        except PipelineError as error:
            if failure is None:
                raise
            if isinstance(failure, PipelineError):
                failure.message += f"; besides, {error.message}"


@dataclass(frozen=True)
class Upkeep:
    """What a command shares that changes feeds between exports. `run_id` names its commits; `max_share` of a feed's
    rows may expire at once without a reason: 1 lets all of them go.
    """

    lake: Lake
    holder: Mapping[str, str]
    run_id: str
    now: dt.datetime
    max_share: float

    def numbered(self, index: int) -> Upkeep:
        """For one feed of several: each commit has a name of its own."""
        return replace(self, run_id=name_of_feed(self.run_id, index))
