"""Table snapshots for the warehouse, read from their source or from versions in the lake.

Both give the same kind of value, so everything after this step is one code path. A read from the source is accepted by
the same rule as for the lake, and stored in a temporary folder until it is loaded.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import VersionUnknown, WrongUsage
from pipeline.export.believed import read_believed
from pipeline.export.plan import table_of
from pipeline.export.stage import StagedTable
from pipeline.feeds import Feed, WarehouseMapping
from pipeline.lake.files import DataFile, read_all_staged
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.limits import Limits, ReadPolicy
from pipeline.progress import Meter, Progress
from pipeline.scratch import scratch_folder
from pipeline.source import Sources, TableRead
from pipeline.warehouse.mapping import TableSnapshot


def mapping_of(feed: Feed) -> WarehouseMapping:
    """The feed's warehouse mapping. Raises WrongUsage for a feed without one."""
    if feed.warehouse is None:
        raise WrongUsage(
            f"the feed {feed.name} has no 'warehouse' mapping, so there is no table for it",
            f"python manage_feeds.py ddl {feed.name} --save-mapping proposes a table and adds a mapping",
        )
    return feed.warehouse


def lake_snapshots(lake: Lake, feeds: Sequence[Feed], version: int | None) -> list[TableSnapshot]:
    """The current version of each table, or `version` of each.

    Raises VersionUnknown naming the retained versions, WrongUsage for a version of different days in the tables.
    """
    tables = [lake.table(feed) for feed in feeds]
    found = [lake_snapshot(table, version if version is not None else table.current_version) for table in tables]
    if version is not None and len({snapshot.taken_at.date() for snapshot in found}) > 1:
        days = ", ".join(f"{snapshot.feed}: {snapshot.taken_at:%Y-%m-%d}" for snapshot in found)
        raise WrongUsage(
            f"version {version} is not of one day in all tables ({days}), so it is no snapshot of them",
            "name tables of one day with --table, or take --all-versions, which keeps each at its time",
        )
    return found


def lake_history(lake: Lake, feeds: Sequence[Feed]) -> Iterator[tuple[dt.datetime, list[TableSnapshot]]]:
    """Every version that the lake retains of these tables, oldest first; versions from the same run come together.

    Each table has its own version numbers, so equal numbers may be of different days. Raises VersionUnknown for a table
    without versions.
    """
    found: dict[tuple[dt.datetime, int], list[TableSnapshot]] = {}
    for table in (lake.table(feed) for feed in feeds):
        at_once = Counter[dt.datetime]()
        for version in table.versions() or (None,):
            snapshot = lake_snapshot(table, version)
            found.setdefault((snapshot.taken_at, at_once[snapshot.taken_at]), []).append(snapshot)
            at_once[snapshot.taken_at] += 1
    for taken_at, place in sorted(found):
        yield taken_at, found[taken_at, place]


def lake_snapshot(table: LakeTable, wanted: int | None) -> TableSnapshot:
    """One version of a table, by default the current one. Raises VersionUnknown naming the retained versions."""
    versions = table.versions()
    if wanted is None or wanted not in versions:
        retained = ", ".join(map(str, versions)) or "none"
        raise VersionUnknown(
            f"the lake has no version {wanted or ''} of {table.feed.name}".replace("  ", " "),
            f"retained versions: {retained}; export one: python export_to_data_lake.py --table {table.feed.name}",
        )
    files = versions[wanted]
    return TableSnapshot(
        feed=table.feed.name,
        mapping=mapping_of(table.feed),
        schema=table.schema,
        batches=lambda: table.read_batches(files),
        row_count=sum(file.row_count for file in files),
        lake_version=wanted,
        taken_at=max(file.added_at for file in files),
        lake_id=table.id,
        lake_files=identity_of(files),
        lake_newest=max(*versions, table.current_version or 0),
    )


def identity_of(files: Sequence[DataFile]) -> str:
    """A hash of the names of a version's data files; each name holds its commit and a checksum of its bytes."""
    names = "\n".join(sorted(file.path for file in files))
    return hashlib.blake2b(names.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def source_snapshots(
    sources: Sources,
    feeds: Sequence[Feed],
    limits: Limits,
    policy: ReadPolicy,
    previous_rows: Mapping[str, int],
    now: dt.datetime,
    progress: Progress | None = None,
) -> Iterator[list[TableSnapshot]]:
    """Reads each table from its source; `previous_rows` are the row counts of the last snapshot by feed."""
    progress = progress or Progress()
    with scratch_folder() as folder:
        found = list[TableSnapshot]()
        for feed in feeds:
            place, previous = folder / feed.name, previous_rows.get(feed.name)
            with progress.at(feed.name, "reading") as meter:
                found.append(_source_snapshot(sources, feed, place, limits, policy, previous, now, meter))
        yield found


def _source_snapshot(
    sources: Sources,
    feed: Feed,
    folder: Path,
    limits: Limits,
    policy: ReadPolicy,
    previous_rows: int | None,
    now: dt.datetime,
    meter: Meter,
) -> TableSnapshot:
    table = table_of(sources, feed)

    def store(read: TableRead, number: int) -> StagedTable:
        meter.begin("reading" if number == 1 else "reading again")
        return StagedTable.of(read, folder / str(number), "0", number, meter=meter)

    staged = read_believed(table, table.state(), limits, policy, previous_rows, store)
    return TableSnapshot(
        feed=feed.name,
        mapping=mapping_of(feed),
        schema=staged.schema,
        batches=lambda: read_all_staged(staged.files),
        row_count=staged.row_count,
        lake_version=None,
        taken_at=now,
    )
