"""What may follow an export of all feeds in the same run: the warehouse's sync from the lake, the proof of what is new.

A step goes on whatever the one before it could not do: a server that is away keeps nobody from what the lake has.
Killed in the sync the warehouse shows the old star, whole; killed after it nothing is missing but the verdict.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.export.commit import Run
from pipeline.faults import collected
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.progress import Progress
from pipeline.verify.verification import Verification, verify_feeds
from pipeline.warehouse.load import Loaded
from pipeline.warehouse.selection import choose_feeds
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_snapshot
from pipeline.warehouse.sync import NOTHING_LOADED, SyncRequest, load_stars


@dataclass(frozen=True)
class Warehouse:
    """Where the sync loads which feeds; `scd2` are the dimensions whose history is kept."""

    server: Server
    feeds: Sequence[Feed]
    scd2: Collection[str]

    @classmethod
    def chosen(cls, lake: Lake, server: Server, scd2: Collection[str]) -> Warehouse:
        """For every enabled feed that has a place there. Raises WrongUsage where there is none."""
        return cls(server, choose_feeds(lake.feeds, (), scd2)[0], scd2)


@dataclass(frozen=True)
class Synced:
    """What the sync did. `left_out` are feeds of which the lake has no version yet."""

    loaded: Loaded = NOTHING_LOADED
    left_out: tuple[str, ...] = ()
    errors: tuple[PipelineError, ...] = ()

    @property
    def has_rejects(self) -> bool:
        return any(fact.rejected for fact in self.loaded.facts)


@dataclass(frozen=True)
class AfterExport:
    """What the steps came to; None for one that was not asked for."""

    synced: Synced | None = None
    verified: Verification | None = None

    @property
    def errors(self) -> list[PipelineError]:
        found = list(self.synced.errors) if self.synced else []
        return found + [error for _, error in self.verified.errors] if self.verified else found

    @property
    def is_wrong(self) -> bool:
        """Whether a person must act although nothing failed."""
        rejects = self.synced is not None and self.synced.has_rejects
        return rejects or (self.verified is not None and bool(self.verified.findings))


def sync_newest(
    lake: Lake, warehouse: Warehouse, now: dt.datetime, tell: Callable[[str], None], progress: Progress
) -> Synced:
    """Loads the newest version that the lake has of each table, all of them as one snapshot.

    A table whose export failed is loaded as it was before, so that every snapshot is a whole star.
    """
    errors, star, left_out, loads = list[PipelineError](), [], [], [NOTHING_LOADED]
    for feed in warehouse.feeds:
        with collected(feed.name, errors):
            table = lake.table(feed)
            if table.current_version in table.versions():
                star.append(lake_snapshot(table, table.current_version))
            else:
                left_out.append(feed.name)
    if star:
        request = SyncRequest("lake", scd2=frozenset(warehouse.scd2))
        with collected("the sync", errors):
            loads = load_stars(warehouse.server, [star], request, now, tell, progress)
    return Synced(loads[0], tuple(left_out), tuple(errors))


@dataclass(frozen=True)
class Steps:
    """What is to follow an export: a sync, where there is a warehouse for it, and the proof of what is `verified`."""

    warehouse: Warehouse | None
    verified: Sequence[Feed]

    def take(self, lake: Lake, run: Run, tell: Callable[[str], None]) -> AfterExport:
        """Takes them in this order; what one of them could not do is in its result."""
        synced = sync_newest(lake, self.warehouse, run.now, tell, run.progress) if self.warehouse else None
        verified = None
        if self.verified:
            verified = verify_feeds(lake, self.verified, (), run.limits, read_since=run.id, progress=run.progress)
        return AfterExport(synced, verified)
