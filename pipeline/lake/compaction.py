"""Many small files become few large ones: the same rows, sorted, in commits that add and lose none.

A file's day is the date of its partition, or else the day it was added on. Files of past days that are below half of
the target size are joined where a partition has at least two of them; a file that came late waits for a second one.
Readers of older versions keep the old files for the grace period.

Each commit makes about one file of the target size, and the feed is locked for one commit at a time, so a waiting
export gets its turn, and a killed compaction continues after its last commit. A crash leaves the old files or the new
ones in the log.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.errors import LakeDamaged
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.file_proof import file_problem
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Upkeep
from pipeline.lake.names import name_of_part
from pipeline.lake.retention import partition_names
from pipeline.lake.rewrite import rewrite
from pipeline.lake.sorting import in_order
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import Partition, StagedFile
from pipeline.progress import Meter

Group = Sequence[DataFile]
"""Files of one partition that become one."""
_MOST_FILES = 1000
"""About the most that one commit reads."""


@dataclass(frozen=True)
class Goal:
    """What compaction aims at: `target_bytes` is the size of a new file; files of the day `before`, by default today,
    and later are left as they are.
    """

    target_bytes: int
    before: dt.date | None = None


@dataclass
class Compacted:
    """What was compacted of a feed so far. `refused` are errors for partitions with a damaged file."""

    feed: str
    taken: list[DataFile] = field(default_factory=list)
    made: list[StagedFile] = field(default_factory=list)
    commits: int = 0
    refused: dict[Partition, LakeDamaged] = field(default_factory=dict)

    @property
    def partitions(self) -> list[str]:
        return partition_names(self.taken)


def small_files(table: LakeTable, goal: Goal, now: dt.datetime) -> list[Group]:
    """The groups of files to be joined, the oldest partitions first; empty where there are too few small files."""
    if not table.exists:
        return []
    before = goal.before or table.guarded(now).date()
    small = [f for f in table.files if 2 * f.size_bytes < goal.target_bytes and _day(table.feed, f) < before]
    partitions: dict[str, list[DataFile]] = {name: [] for name in partition_names(small)}
    for file in sorted(small, key=_by_time):
        partitions[file.partition or ""].append(file)
    return [group for files in partitions.values() for group in _groups(files, goal.target_bytes) if len(group) > 1]


def _day(feed: Feed, file: DataFile) -> dt.date:
    dated = feed.type == "stream" and file.partition is not None
    return dt.date.fromisoformat(file.partition or "") if dated else file.added_at.date()


def _by_time(file: DataFile) -> tuple[dt.datetime, int, str]:
    """Orders files by time: neighbours in time are neighbours in offsets, so a search by offset opens few new files."""
    return file.added_at, file.bounds.get("rowoffset", (0, 0))[0], file.path


def _groups(files: Sequence[DataFile], target_bytes: int) -> Iterator[Group]:
    group, size = list[DataFile](), 0
    for file in files:
        if size + file.size_bytes > target_bytes:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size_bytes
    yield group


def compact_part(
    table: LakeTable, goal: Goal, commit_id: str, now: dt.datetime, done: Compacted, meter: Meter | None = None
) -> bool:
    """Compacts as much as one commit takes, adds it to `done`, and returns whether there is more to do.

    A partition with a damaged file is left as it is, with an error in `done.refused`.
    """
    groups, size, files = list[Group](), 0, 0
    found = iter(small_files(table, goal, now))
    for group in found:
        if group[0].partition in done.refused:
            continue
        if (damage := _damage(table, group)) is not None:
            done.refused[group[0].partition] = damage
            continue
        groups.append(group)
        size, files = size + sum(file.size_bytes for file in group), files + len(group)
        if size >= goal.target_bytes or files >= _MOST_FILES:
            break
    if not groups:
        return False
    taken = [file for group in groups for file in group]
    note = {"kind": "compact", "partitions": partition_names(taken), "files": len(taken), "files_after": len(groups)}
    change = Change(data_change=False, note=note)
    done.made += rewrite(table, groups, lambda files: _rows(table, files, meter), change, commit_id, now)
    done.taken += taken
    done.commits += 1
    return any(group[0].partition not in done.refused for group in found)


def _rows(table: LakeTable, files: Group, meter: Meter | None) -> Iterable[pa.RecordBatch]:
    rows = table.read_batches(files)
    rows = meter.counted(rows) if meter else rows
    return in_order(rows, table.store) if table.feed.type == "stream" else rows


def _damage(table: LakeTable, group: Group) -> LakeDamaged | None:
    """The error for a group with a damaged file: its rows must not get into a file that looks sound."""
    for file in group:
        if (problem := file_problem(table.store, file)) is not None:
            folder = file.path.partition("/")[0]
            return LakeDamaged(
                f"{folder} of {table.feed.name} is not compacted: {table.uri(file.path)}: {problem}",
                f"see what can be done: python metadata_utils.py repair {table.feed.name}",
            )
    return None


def compact_feed(upkeep: Upkeep, feed: Feed, goal: Goal, done: Compacted, meter: Meter | None = None) -> None:
    """Compacts all groups of a feed, and adds them to `done`; `meter` counts the rows that are written.

    Raises FeedLocked, also between two of its commits.
    """
    groups, meter = small_files(upkeep.lake.table(feed), goal, upkeep.now), meter or Meter(feed.name)
    goes_on = bool(groups)
    meter.begin("compacting", sum(file.row_count for group in groups for file in group))
    for number in itertools.count():
        if not goes_on:
            return
        with upkeep.lake.writing(feed, upkeep.holder) as table:
            goes_on = compact_part(table, goal, name_of_part(upkeep.run_id, number), upkeep.now, done, meter)


def would_compact(upkeep: Upkeep, feed: Feed, goal: Goal) -> list[Group]:
    """The groups that `compact_feed` would join, if no file is damaged."""
    return small_files(upkeep.lake.table(feed), goal, upkeep.now)
