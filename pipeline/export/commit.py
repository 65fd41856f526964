"""What every export does to its feed's table: adapt it to the source's columns, commit, count what was committed.

Records that are no rows are committed to their own table before the rows around them.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.columns import Column
from pipeline.errors import CommitStands
from pipeline.export.engine import Engine
from pipeline.export.processes import Processes
from pipeline.lake.change import Change
from pipeline.lake.columns import annotated_schema
from pipeline.lake.compaction import Goal
from pipeline.lake.files import staged_bounds
from pipeline.lake.names import name_of_act, name_of_feed
from pipeline.lake.rewrite import widen
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedFile
from pipeline.limits import Limits, ReadPolicy
from pipeline.progress import Progress
from pipeline.source import Bookmark, Outcome, Source, weakest
from pipeline.text import plural
from pipeline.unreadable import SCHEMA


@dataclass(frozen=True)
class Run:
    """The settings of a run, for all of its feeds. `id` is the beginning of its files' names. `commit_rows` limits the
    rows of a stream's commit, `engine` says who stages rows, `jobs` the feeds at once, `scans` the server's
    scans at once. With `compact` small files are compacted after an export.

    `tell` is called for each commit in the middle of a long export, `progress` counts what is read.
    """

    id: str
    now: dt.datetime
    limits: Limits
    commit_rows: int
    policy: ReadPolicy
    max_expire: float
    compact: Goal | None = None
    accept_gap: bool = False
    engine: Engine = field(default_factory=Processes)
    jobs: int = 1
    scans: int = 1
    tell: Callable[[str], None] = lambda _: None
    progress: Progress = field(default_factory=Progress)

    def for_feed(self, number: int, seconds_left: float | None) -> Run:
        """The run for one of its feeds, with its own id and `seconds_left` from now."""
        deadline = None if seconds_left is None else time.monotonic() + seconds_left
        return replace(self, id=name_of_feed(self.id, number), limits=replace(self.limits, deadline=deadline))


@dataclass
class ExportResult:
    """What one feed's export has done so far. `outcome` is how a stream's read ended, `newest_ms` the newest ROWTIME of
    the rows that it wrote; `unreadable` counts, by reason, the records in the committed range that are no rows.
    """

    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    commits: int = 0
    outcome: str = ""
    newest_ms: int | None = None
    version: int | None = None
    lag: int | None = None
    notes: list[str] = field(default_factory=list)
    undated_rows: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)

    def commit(self, table: LakeTable, commit_id: str, change: Change, now: dt.datetime) -> None:
        """Commits the change and counts what it adds, also when the disk fails after the commit is made."""
        try:
            table.commit(commit_id, change, now)
        except CommitStands:
            self._count(change)
            raise
        self._count(change)

    def _count(self, change: Change) -> None:
        staged, self.version = change.adds, change.current_version
        self.rows += sum(file.row_count for file in staged)
        self.files += len(staged)
        self.size_bytes += sum(file.size_bytes for file in staged)
        self.commits += 1
        for _, newest_ms in filter(None, (staged_bounds(file).get("rowtime") for file in staged)):
            self.newest_ms = newest_ms if self.newest_ms is None else max(self.newest_ms, newest_ms)
        self.unreadable.update(change.note.get("unreadable", {}))
        self.undated_rows += sum(file.row_count for file in staged if file.partition is None)

    def describe(self, reads: Sequence[_Read]) -> None:
        """Sets outcome, gaps and notes by the reads of a stream so far."""
        self.outcome = weakest([read.outcome for read in reads]) or ""
        replayed_rows = sum(read.replayed_rows for read in reads)
        gaps = {partition: gap for read in reads for partition, gap in read.gaps.items()}
        self.notes = [f"{replayed_rows} rows came again and were dropped"] if replayed_rows else []
        self.notes += [f"partition {p}: offsets {a} to {b - 1} are lost" for p, (a, b) in sorted(gaps.items())]
        self.describe_unreadable()

    def describe_unreadable(self) -> None:
        self.notes += [f"{plural(n, 'record')} left out: {reason}" for reason, n in sorted(self.unreadable.items())]


class _Read(Protocol):
    @property
    def outcome(self) -> Outcome | None: ...
    @property
    def replayed_rows(self) -> int: ...
    @property
    def gaps(self) -> Mapping[int, tuple[int, int]]: ...


def prepare_table(run: Run, table: LakeTable, columns: Sequence[Column], topic: str) -> None:
    """Creates the table, or adapts it to new columns and wider types. Raises SchemaChanged, ColumnUnnamed."""
    schema = annotated_schema(columns)
    if not table.exists:
        table.create(schema, topic)
    elif wider := table.match_schema(schema):
        widen(table, wider, schema, name_of_act(run.id, "widen"), run.now)


def commit_unreadable(
    kept: LakeTable,
    run: Run,
    source: Source,
    files: Sequence[StagedFile],
    bookmarks: Mapping[int, Bookmark],
    commit_id: str,
) -> None:
    """Commits staged records that are no rows, always before the rows up to the same `bookmarks`.

    After a kill between the two the next run knows by the bookmarks of `kept` which records are there.
    """
    if not files:
        return
    if not kept.exists:
        kept.create(SCHEMA, source.topic)
    reached = kept.bookmarks()
    moved = {p: mark for p, mark in bookmarks.items() if mark.next_offset > reached.get(p, Bookmark(0)).next_offset}
    note = {"kind": "unreadable", "run": run.id, "rows": sum(file.row_count for file in files)}
    change = Change(files, (), moved, source.partitions, source.topic_id, note=note)
    kept.commit(commit_id, change, run.now)


def gaps_note(gaps: Mapping[int, tuple[int, int]]) -> dict[str, list[int]]:
    """Lost offsets as a commit records them: the first lost one, and the first that still exists after it."""
    return {str(partition): list(gap) for partition, gap in sorted(gaps.items())}


def unreadable_note(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of records that are no rows, by reason, as a commit records them."""
    return dict(sorted(counts.items()))
