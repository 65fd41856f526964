"""A sync: the stars to load, from ksqlDB or from the lake, each loaded in one transaction, oldest first.

After a kill between two stars the warehouse has the older ones; the next sync finds them there and goes on.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import WrongUsage
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.limits import Limits, ReadPolicy
from pipeline.progress import Progress
from pipeline.source import Sources
from pipeline.text import rfc3339
from pipeline.warehouse.clock import agreed_now, not_after
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import previous_row_counts
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.migrations import init_schema, planned_migrations
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_history, lake_snapshots, source_snapshots
from pipeline.warehouse.target import GALERA, is_galera

NOTHING_LOADED = Loaded([])


@dataclass(frozen=True)
class SyncRequest:
    """The options of a sync. Raises WrongUsage for options that exclude each other.

    `lake_version` is a version of each table, None the current one; `scd2` are the dimensions whose history is kept.
    """

    source: str = "ksqldb"
    lake_version: int | None = None
    all_versions: bool = False
    dry_run: bool = False
    strict: bool = False
    scd2: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if (self.lake_version is not None or self.all_versions) and self.source != "lake":
            raise WrongUsage("--lake-version and --all-versions go with --source lake", "add --source lake")
        if self.lake_version is not None and self.all_versions:
            raise WrongUsage("--lake-version and --all-versions exclude each other", "give one of them")


@dataclass(frozen=True)
class Reading:
    """Where tables are read from, and with which limits."""

    sources: Sources
    limits: Limits
    policy: ReadPolicy


def prepare_schema(server: Server, folder: Path, dry_run: bool, tell: Callable[[str], None]) -> bool:
    """Applies the SQL files of `folder`, or says which it would apply; returns whether a load can follow."""
    files = planned_migrations(server, folder) if dry_run else init_schema(server, folder)
    applied = "would be applied" if dry_run else "applied"
    for name, is_new in files:
        tell(f"schema of {server.database}: {name} " + (applied if is_new else "already there"))
    return not (dry_run and any(is_new for _, is_new in files))


def stars_of_lake(lake: Lake, feeds: Sequence[Feed], request: SyncRequest) -> list[list[TableSnapshot]]:
    """The snapshots of each load from the lake, oldest first; reads only its logs. Empty for `--source ksqldb`."""
    if request.source != "lake":
        return []
    if request.all_versions:
        return [snapshots for _, snapshots in lake_history(lake, feeds)]
    return [lake_snapshots(lake, feeds, request.lake_version)]


def load_one(
    server: Server,
    star: Sequence[TableSnapshot],
    request: SyncRequest,
    now: dt.datetime,
    progress: Progress | None = None,
) -> Loaded:
    """Loads one star; see `load_star`."""
    with Connection(server) as connection:
        return load_star(
            connection,
            star,
            request.source,
            now,
            dry_run=request.dry_run,
            strict=request.strict,
            scd2=request.scd2,
            progress=progress,
        )


def load_stars(
    server: Server,
    stars: Iterable[Sequence[TableSnapshot]],
    request: SyncRequest,
    now: dt.datetime,
    tell: Callable[[str], None],
    progress: Progress | None = None,
) -> list[Loaded]:
    """Loads stars of the lake, each as one snapshot; `progress` counts."""
    now = _agreed(server, now, tell)
    loads = []
    for star in stars:
        tell(", ".join(f"{table.feed} version {table.lake_version} of {rfc3339(table.taken_at)}" for table in star))
        loads.append(load_one(server, not_after(star, now), request, now, progress))
    return loads


def load_from_source(
    server: Server,
    reading: Reading,
    feeds: Sequence[Feed],
    request: SyncRequest,
    now: dt.datetime,
    tell: Callable[[str], None],
    progress: Progress | None = None,
) -> list[Loaded]:
    """Loads the feeds' tables as their source has them now, as one snapshot; `progress` counts."""
    now = _agreed(server, now, tell)
    with Connection(server) as connection:
        previous = previous_row_counts(connection)
    policy = dataclasses.replace(reading.policy, allow_shrink="SNAPSHOT_MAX_SHRINK=1 in the environment")
    with source_snapshots(reading.sources, feeds, reading.limits, policy, previous, now, progress) as star:
        return [load_one(server, star, request, now, progress)]


def _agreed(server: Server, now: dt.datetime, tell: Callable[[str], None]) -> dt.datetime:
    """The time of the sync; warns about a server for which a load is not safe."""
    with Connection(server) as connection:
        now = agreed_now(connection, now)
        if is_galera(connection):
            tell(f"warning: {GALERA}")
    return now
