"""A stream's new rows from ksqlDB into the lake, and what every export shares.

Each function runs under the feed's lock, first removes what a killed run left behind, and commits rows and progress
together. Killed at any point it leaves the last commit standing; the next run goes on from there.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.columns import Column
from pipeline.errors import CommitStands, PushStalled, SourceUnknown, TopicChanged
from pipeline.export.witness import witnessed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import Description, find_source
from pipeline.ksqldb.stream import StreamRead, read_stream
from pipeline.lake.change import Change
from pipeline.lake.columns import annotated_schema
from pipeline.lake.rewrite import widen
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedFile, StagedWriter
from pipeline.source import Bookmark, Limits, ReadPolicy


@dataclass(frozen=True)
class Run:
    """What every feed of one run shares. `id` names its files; `commit_rows` bounds a stream's commits.

    `tell` hears of each commit on the way of a long export.
    """

    id: str
    now: dt.datetime
    limits: Limits
    commit_rows: int
    grace_hours: int
    policy: ReadPolicy
    max_expire: float
    accept_gap: bool = False
    tell: Callable[[str], None] = lambda _: None


@dataclass
class Exported:
    """What one feed's export did. `outcome` is how a stream's read ended."""

    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    commits: int = 0
    outcome: str = ""
    version: int | None = None
    lag: int | None = None
    notes: list[str] = field(default_factory=list)
    undated_rows: int = 0

    def commit(self, table: LakeTable, commit_id: str, change: Change, now: dt.datetime) -> None:
        """Commits the change and counts what it adds; also when the disk fails after the commit stands."""
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
        self.undated_rows += sum(file.row_count for file in staged if file.partition is None)

    def tell_read(self, read: StreamRead) -> None:
        self.outcome = read.outcome or ""
        self.notes = [f"{read.replayed_rows} rows came again and were dropped"] if read.replayed_rows else []
        self.notes += [f"partition {p}: offsets {a} to {b - 1} are lost" for p, (a, b) in sorted(read.gaps.items())]


def source_of(client: Client, table: LakeTable) -> Description:
    """The feed's source on the server.

    Raises SourceUnknown when the server has it as the other kind, TopicChanged when it reads another topic now.
    """
    feed = table.feed
    source = find_source(client, feed.source)
    if source.kind != feed.type:
        raise SourceUnknown(
            f"{source.name} is a {source.kind} on the server, but the feed {feed.name} is for a {feed.type}",
            f"python manage_feeds.py delete {feed.name} --confirm, then add it with --type {source.kind}",
        )
    if table.exists and feed.type == "stream" and table.topic != source.topic:
        raise TopicChanged(
            f"{source.name} now reads the topic {source.topic}; the lake's rows are from {table.topic}",
            f"python manage_feeds.py archive {feed.name}, then add a new feed for it",
        )
    return source


def export_stream(client: Client, table: LakeTable, run: Run, done: Exported) -> None:
    """Appends the rows after the bookmark, committing every `run.commit_rows` rows and at the end.

    `done` tells at each moment what was committed. Raises PushStalled after committing what came; any other error
    leaves what was committed before it.
    """
    source = source_of(client, table)
    marks = table.bookmarks()
    read = read_stream(client, source, marks, run.limits, accept_gap=run.accept_gap)
    schema = prepare_table(run, table, read.columns, source.topic)
    batches, ended = witnessed(table, read), False
    while not ended:
        commit_id = f"{run.id}{done.commits:04x}"
        writer = stream_writer(table, schema, commit_id)
        new_marks: dict[int, Bookmark] = {}
        stalled: PushStalled | None = None
        try:
            ended = fill_writer(writer, batches, run.commit_rows, new_marks)
        except PushStalled as error:
            stalled, ended = error, True
        except BaseException:
            writer.discard()
            raise
        if ended:
            new_marks |= marks_without_rows(read, marks | new_marks)
        if writer.row_count or new_marks:
            staged = writer.finish()
            note = _stream_note(run, read, staged, marks, new_marks)
            change = Change(adds=staged, bookmarks=new_marks, partitions=source.partitions, note=note)
            done.commit(table, commit_id, change, run.now)
            marks |= new_marks
            if not ended:
                run.tell(f"{table.feed.name}: {done.rows:,} rows committed, going on")
        done.tell_read(read)
        if stalled is not None:
            raise stalled


def prepare_table(run: Run, table: LakeTable, columns: tuple[Column, ...], topic: str) -> pa.Schema:
    """Makes the table, or has it take over new columns and wider types; returns the table's own schema."""
    told = annotated_schema(columns)
    if not table.exists:
        table.create(told, topic)
    elif wider := table.match_schema(told):
        widen(table, wider, told, f"{run.id}bb", run.now)
    return table.schema


def stream_writer(table: LakeTable, schema: pa.Schema, name: str) -> StagedWriter:
    folder: Path = table.staging_folder(name)
    return StagedWriter(folder, schema.remove_metadata(), date_column=table.feed.partition_column)


def fit_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return batch.select(schema.names).cast(schema.remove_metadata()) if batch.schema.names != schema.names else batch


def fill_writer(
    writer: StagedWriter,
    batches: Iterator[pa.RecordBatch],
    limit: int | None,
    marks: dict[int, Bookmark],
) -> bool:
    """Writes batches until `limit` rows are there; returns whether the read has ended. Moves `marks` along."""
    for batch in batches:
        writer.add(batch)
        _move_marks(marks, batch)
        if limit is not None and writer.row_count >= limit:
            return False
    return True


def _move_marks(marks: dict[int, Bookmark], batch: pa.RecordBatch) -> None:
    partitions = batch.column("rowpartition").to_numpy()
    offsets, rowtimes = batch.column("rowoffset").to_numpy(), batch.column("rowtime").to_numpy()
    for partition in set(partitions.tolist()):
        # Within a partition rows come in the order of their offsets, so the last row has the highest.
        last = int((partitions == partition).nonzero()[0][-1])
        marks[partition] = Bookmark(int(offsets[last]) + 1, int(rowtimes[last]))


def marks_without_rows(read: StreamRead, marks: Mapping[int, Bookmark]) -> dict[int, Bookmark]:
    """Where to go on in partitions that brought no row: after an accepted gap, and at the end of those never read.

    Rows that come there and expire before the next run are then a gap as well.
    """
    known = {partition: gap_end for partition, (_, gap_end) in read.gaps.items()}
    if read.outcome == "exact" and read.ends is not None:
        known |= {partition: offsets.end for partition, offsets in read.ends.items() if partition not in marks}
    return {p: Bookmark(due) for p, due in known.items() if due > marks.get(p, (-1, None))[0]}


def _stream_note(
    run: Run,
    read: StreamRead,
    staged: list[StagedFile],
    old: Mapping[int, Bookmark],
    new: Mapping[int, Bookmark],
) -> dict[str, Any]:
    return {
        "kind": "stream",
        "run": run.id,
        "rows": sum(file.row_count for file in staged),
        "outcome": read.outcome or "in progress",
        "from": {str(p): old.get(p, (0, None))[0] for p in sorted(new)},
        "to": {str(p): mark for p, (mark, _) in sorted(new.items())},
        "gaps": gaps_note(read),
    }


def gaps_note(read: StreamRead) -> dict[str, list[int]]:
    """Lost offsets as a commit records them: from, and the first that is there again."""
    return {str(partition): list(gap) for partition, gap in sorted(read.gaps.items())}


def with_deadline(run: Run, seconds_left: float | None, clock: Callable[[], float] = time.monotonic) -> Run:
    """The run with its reads limited to that many seconds from now."""
    if seconds_left is None:
        return run
    return dataclasses.replace(run, limits=dataclasses.replace(run.limits, deadline=clock() + seconds_left))
