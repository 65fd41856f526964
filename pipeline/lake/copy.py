"""A lake copied to another place, feed by feed; the lake that is copied is only read, and may be in use.

A feed is copied as it is at one version of its log, so nobody waits: what is committed later, the next copy brings. At
the new place its data files come first, then its log in order, and when all of that was read again and found equal, its
definition. So there a feed is unknown, or its table is whole: as it is here, or, while a later copy is under way, as an
earlier one has left it. A crash leaves files that no log names, which the next copy finds and does not copy again.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import LakeDamaged, NotACopy, PipelineError, WrongUsage
from pipeline.feeds import Feed
from pipeline.fingerprint import ContentHash
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.metadata import Totals, copy_metadata
from pipeline.lake.runs import RunLedger
from pipeline.lake.store import Store, Tell, disk_errors
from pipeline.lake.table import VIEWS, LakeTable
from pipeline.lake.table_copy import copy_table, not_empty, older_files, proved, refuse_other_table
from pipeline.lake.views import write_views
from pipeline.progress import Meter

_PARTS = frozenset({"feeds", "streams", "tables", "unreadable", "runs", "logs", VIEWS})
_OTHER_PARTS = frozenset({".views.lock", ".run.lock", ".run.json", "lost+found"})


@dataclass
class CopiedFeed:
    """A feed that was copied, or would be. `totals` are those of its files, `copied` of those that were not there yet.

    `delta_version` is None for a feed without data; `fingerprint` is the hash of its rows, whatever their order: here
    and there the same, and empty where nothing was compared. Records that are kept beside the feed count too.
    """

    feed: str
    delta_version: int | None
    totals: Totals = field(default_factory=Totals)
    copied: Totals = field(default_factory=Totals)
    fingerprint: str = ""


@dataclass(frozen=True)
class LakeCopy:
    """A lake and its copy. `holder` is shown to runs that find the copy held."""

    source: Store
    target: Store
    holder: Mapping[str, str]
    tell: Tell

    def feeds(self) -> tuple[Sequence[Feed], Sequence[PipelineError]]:
        """The lake's feeds, active and archived, and the errors of those whose definition cannot be read."""
        return FeedStore(self.source).choose(archived=True)

    def refuse_other(self) -> None:
        """Raises NotACopy for a target with anything that the lake does not have; changes nothing."""
        _refuse_same_place(self.source, self.target)
        feeds = FeedStore(self.source)
        feeds.check_there()
        known = feeds.readable()
        broken = {lost.name for found in (feeds.list(), feeds.list(archived=True)) for lost in found.broken}
        with disk_errors(self.target.uri(), "read"):
            for part in self.target.names():
                if part.removesuffix(".tmp").removesuffix(".asked") not in _PARTS | _OTHER_PARTS:
                    raise not_empty(self.target.uri(part), "is no part of a lake")
            for folder in ("feeds/active", "feeds/archived"):
                names = {name.removesuffix(".json") for name in self.target.names(folder) if name.endswith(".json")}
                for name in sorted(names - broken - {feed.name for feed in known}):
                    raise _deleted_since(self.target, f"{folder}/{name}.json", name)
            for kind in ("streams", "tables", "unreadable"):
                ours = {feed.name for feed in known if kind in (feed.kind_folder, feed.of_unreadable().kind_folder)}
                for name in sorted(set(self.target.names(kind)) - broken - ours):
                    there = self.target.uri(f"{kind}/{name}")
                    raise not_empty(there, "is data of no feed of the lake", "in one, move this folder away")
        for feed in known:
            with contextlib.suppress(LakeDamaged):  # raised again when that feed is copied
                for table in self._tables(feed):
                    refuse_other_table(table, self._place_of(table))

    def missing(self, feed: Feed) -> CopiedFeed:
        """What would be copied; files that are there are known by their size. Raises NotACopy."""
        tables = self._tables(feed)
        found = _copied(feed, tables[-1])
        for table in tables:
            refuse_other_table(table, self._place_of(table))
            files = [*table.files, *older_files(table)]
            there = self._place_of(table)
            found.totals += Totals.of(files)
            found.copied += Totals.of([file for file in files if there.size(file.path) != file.size_bytes])
        return found

    def copy_feed(self, feed: Feed, meter: Meter) -> CopiedFeed:
        """Copies a feed, and proves the copy. `meter` counts what is copied and compared.

        Raises LakeDamaged for a file that is not what was written, NotACopy, and FeedLocked. Where a run of the lake
        deletes what is being copied, the feed is copied as it is then.
        """
        while True:
            tables = self._tables(feed)
            try:
                return self._copy_tables(feed, tables, meter)
            except LakeDamaged:
                if all(_version(LakeTable(self.source, one.feed, self.tell)) == _version(one) for one in tables):
                    raise

    def finish(self) -> None:
        """Copies the ledger of runs, and writes the copy's `views.sql`."""
        RunLedger(self.target).take_over(RunLedger(self.source))
        feeds = FeedStore(self.target)
        write_views(self.target, feeds, lambda feed: LakeTable(self.target, feed, self.tell), self.tell)

    def is_behind(self, copied: CopiedFeed) -> bool:
        """Whether the lake has commits of the feed that the copy does not have."""
        feed = FeedStore(self.source).get_anywhere(copied.feed)
        return _version(LakeTable(self.source, feed, self.tell)) != copied.delta_version

    def _tables(self, feed: Feed) -> list[LakeTable]:
        """The feed's tables as they are now; its own comes last, and was read first: an export commits it last."""
        table, beside = LakeTable(self.source, feed, self.tell), feed.of_unreadable()
        if not self.source.below(f"{beside.kind_folder}/{beside.name}").is_there():
            return [table]
        return [LakeTable(self.source, beside, self.tell), table]

    def _place_of(self, table: LakeTable) -> Store:
        return self.target.below(f"{table.feed.kind_folder}/{table.feed.name}")

    def _copy_tables(self, feed: Feed, tables: Sequence[LakeTable], meter: Meter) -> CopiedFeed:
        done, rows = _copied(feed, tables[-1]), ContentHash()
        for table in tables:
            if table.exists:
                place = self._place_of(table)
                with place.hold(feed.name, self.holder) as hold, disk_errors(place.uri()):
                    place.make_durable()
                    place.clear_staging()
                    refuse_other_table(table, place)
                    done.totals += Totals.of([*table.files, *older_files(table)])
                    done.copied += copy_table(table, place, hold, meter, self.tell)
                    copy = LakeTable(self.target, table.feed, self.tell)
                    rows.merge(proved(table, copy, meter))
                    copy_metadata(table, copy)
        done.fingerprint = rows.hexdigest() if tables[-1].exists else ""
        FeedStore(self.target).take_over(FeedStore(self.source), feed.name)
        return done


def _copied(feed: Feed, table: LakeTable) -> CopiedFeed:
    return CopiedFeed(feed.name, _version(table))


def _version(table: LakeTable) -> int | None:
    return table.delta_version if table.exists else None


def _deleted_since(target: Store, path: str, feed: str) -> NotACopy:
    """The error for a feed of the target that the lake does not have."""
    return not_empty(
        target.uri(path),
        "is a feed that the lake does not have",
        "if this is one, and the lake has deleted the feed since, delete it there: "
        f"LAKE_ROOT={shlex.quote(target.uri())} python manage_feeds.py delete {feed} --data --confirm",
    )


def _refuse_same_place(source: Store, target: Store) -> None:
    ours, theirs = _place(source), _place(target)
    if ours.startswith(theirs) or theirs.startswith(ours):
        raise WrongUsage(f"a lake cannot be copied into itself: {source.uri()}, {target.uri()}", "name another place")


def _place(store: Store) -> str:
    path = store.local_path()
    return f"{path.resolve() if path is not None else store.uri()}/"
