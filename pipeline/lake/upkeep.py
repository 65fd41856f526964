"""What is done to a feed between exports, under its lock: it expires, or gets back what expired."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import NothingReturns, PipelineError
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.retention import Due, due, expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import Expired, find_expired, unexpire
from pipeline.lake.writing import writing


@dataclass(frozen=True)
class Upkeep:
    """What all feeds of one command share. `run_id` names its commits; EXPIRE_MAX_SHARE 1 lifts the brake."""

    root: Path
    holder: Mapping[str, str]
    run_id: str
    now: dt.datetime
    grace_hours: int
    max_share: float

    def numbered(self, index: int) -> Upkeep:
        """For one feed of several: each commit has a name of its own."""
        return dataclasses.replace(self, run_id=f"{self.run_id}{index:03x}")


@dataclass(frozen=True)
class Taken:
    """What left the log, and how many older files left the disk."""

    partitions: list[str]
    deleted_files: int


def would_expire(upkeep: Upkeep, feed: Feed) -> Due:
    """What `expire_feed` would let go of. Raises RetentionHeld."""
    found = due(LakeTable(upkeep.root, feed), upkeep.now)
    found.check(upkeep.max_share)
    return found


def expire_feed(upkeep: Upkeep, feed: Feed) -> Taken:
    """Lets go of what the feed's rule no longer keeps, and deletes what was let go before. Raises RetentionHeld."""
    with writing(upkeep.root, feed, upkeep.holder, upkeep.grace_hours) as table:
        partitions = expire(table, upkeep.run_id, upkeep.now, upkeep.max_share)
        return Taken(partitions, table.remove_orphans(upkeep.grace_hours))


@dataclass(frozen=True)
class ArchivedExpiry:
    """An archived feed of which something expired, or should have."""

    feed: str
    partitions: list[str] = field(default_factory=list)
    error: PipelineError | None = None


def expire_archived(upkeep: Upkeep, feeds: Iterable[Feed]) -> list[ArchivedExpiry]:
    """Archived feeds age as well, though nobody exports them; the failure of one does not stop the others."""
    done = []
    for index, feed in enumerate(feeds):
        try:
            with contained(feed.name):
                if partitions := expire_feed(upkeep.numbered(index), feed).partitions:
                    done.append(ArchivedExpiry(feed.name, partitions))
        except PipelineError as error:
            done.append(ArchivedExpiry(feed.name, error=error))
    return done


def unexpire_feed(upkeep: Upkeep, feed: Feed) -> Expired:
    """Brings back what expiries took and the rule keeps. Raises NothingReturns."""
    with writing(upkeep.root, feed, upkeep.holder, upkeep.grace_hours) as table:
        found = returning(table, upkeep)
        unexpire(table, found, upkeep.run_id, upkeep.now)
        return found


def returning(table: LakeTable, upkeep: Upkeep) -> Expired:
    """What would come back. Raises NothingReturns where nothing can."""
    feed, found = table.feed, find_expired(table, upkeep.now, upkeep.grace_hours)
    if found.files or not found.lost:
        return found
    reasons = "; ".join(f"{rows:,} rows: {reason}" for reason, rows in found.lost.items())
    hint = "restore the lake from a backup"
    if found.needs_rule is not None:
        kind = "versions" if feed.retention_versions is not None else "days"
        hint = f"python manage_feeds.py update {feed.name} --retention-{kind} {found.needs_rule}"
    raise NothingReturns(f"no expired row of {feed.name} can come back: {reasons}", hint)
