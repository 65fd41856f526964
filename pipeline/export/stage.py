"""Stages the rows of one task, or of a whole table, as complete Parquet files that no commit names yet.

`stage` is a function of plain values, so a task can be staged by any process that sees the same storage; the process
that holds the feed's lock commits the result. A crash leaves staged files, which the next run removes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.columns import arrow_schema
from pipeline.errors import ReadStalled
from pipeline.export.behind import WriterBehind
from pipeline.export.left_out import LeftOut
from pipeline.lake.encoding import Compression
from pipeline.lake.names import name_of_part
from pipeline.lake.staging import Staging
from pipeline.lake.writer import StagedFile, StagedWriter, discard
from pipeline.limits import Limits
from pipeline.once import OnceOnly
from pipeline.progress import Meter
from pipeline.source import Bookmark, Outcome, StreamRead, StreamSource, TableRead, Task

PART_BYTES = 2**30
"""The bytes of values in memory after which a part ends, however few its rows are."""


@dataclass(frozen=True)
class Staged:
    """A part of a task, ready to be committed: all rows up to its `bookmarks`.

    `outcome` says how the task ended; None where it `goes_on`, or stalled. `replayed_rows` and `gaps` are those of the
    task so far; `witnesses` are rows before the bookmarks at which it began, which the lake should have. `unreadable`
    counts, by reason, the records of the part that are no rows; `unreadable_files` has those to be kept. `size_bytes`
    are those of its rows in memory.
    """

    files: Sequence[StagedFile]
    bookmarks: Mapping[int, Bookmark]
    row_count: int
    goes_on: bool
    outcome: Outcome | None
    replayed_rows: int
    gaps: Mapping[int, tuple[int, int]]
    witnesses: Sequence[pa.RecordBatch]
    unreadable: Mapping[str, int]
    unreadable_files: Sequence[StagedFile] = ()
    size_bytes: int = 0

    def discard(self) -> None:
        """Removes the part's staged files."""
        discard([*self.files, *self.unreadable_files])


# long: one loop, which hands over all that it knows of a part
def stage(
    task: Task,
    stream: StreamSource,
    limits: Limits,
    staging: Staging,
    name: str,
    commit_rows: int | None = None,
    meter: Meter | None = None,
) -> Iterator[Staged]:
    """Stages each row of the task once, in parts of about `commit_rows` rows; the last part may have none.

    The files' names begin with `name`; `meter` counts the rows. Raises ReadStalled after the part with the rows before
    it, and other errors of reading, after which no staged file of the unfinished part is left.
    """
    once, read = OnceOnly(task, stream.ends), stream.read(task, limits)
    moved, meter = dict(task.start), meter or Meter(task.feed)
    batches = meter.counted(map(once.keep, read.batches))
    stalled: ReadStalled | None = None
    for part in itertools.count():
        own = name_of_part(name, part)
        writer, left_out = WriterBehind(staging.writer(own)), LeftOut(staging.kept, own)
        bookmarks, ended, before_bytes = dict[int, Bookmark](), False, meter.size_bytes
        try:
            ended = _fill(writer, left_out, read, batches, commit_rows, bookmarks)
        except ReadStalled as error:
            stalled = error
        except BaseException:
            writer.discard()
            left_out.discard()
            raise
        if ended or stalled:
            bookmarks |= _without_rows(task, once, read, moved | bookmarks)
        moved |= bookmarks
        witnesses, once.witnesses = once.witnesses, []
        files = writer.finish()
        goes_on = not ended and stalled is None
        yield Staged(files, bookmarks, writer.row_count, goes_on, read.outcome, once.replayed_rows, dict(once.gaps),
                     witnesses, dict(left_out.counts), left_out.finish(), meter.size_bytes - before_bytes)  # fmt: skip
        if stalled is not None:
            raise stalled
        if ended:
            return


@dataclass(frozen=True)
class StagedTable:
    """A stored read of a table in staged files; see `export.believed`. `number` counts the reads."""

    read: TableRead
    writer: WriterBehind
    files: list[StagedFile]
    schema: pa.Schema
    number: int

    @classmethod
    def of(
        cls,
        read: TableRead,
        folder: Path,
        partition: str,
        number: int,
        compression: Compression = "snappy",
        meter: Meter | None = None,
    ) -> StagedTable:
        schema = arrow_schema(read.columns)
        writer = WriterBehind(StagedWriter(folder, schema, partition=partition, compression=compression))
        try:
            for batch in meter.counted(read.batches) if meter else read.batches:
                writer.add(batch)
            return cls(read, writer, writer.finish(), schema, number)
        except BaseException:
            writer.discard()
            raise

    @property
    def row_count(self) -> int:
        return self.writer.row_count

    def discard(self) -> None:
        self.writer.discard()


def _fill(
    writer: WriterBehind,
    left_out: LeftOut,
    read: StreamRead,
    batches: Iterator[pa.RecordBatch],
    limit: int | None,
    bookmarks: dict[int, Bookmark],
) -> bool:
    """Writes batches until the part has `limit` rows, or as many bytes as a part may have; moves `bookmarks` along.

    Returns whether the read has ended.
    """
    size_bytes = 0
    for batch in batches:
        size_bytes += batch.nbytes
        writer.add(batch)
        _move(bookmarks, batch)
        for unreadable in read.take_unreadable():
            size_bytes += unreadable.nbytes
            left_out.add(unreadable, bookmarks)
        if (limit is not None and writer.row_count >= limit) or size_bytes >= PART_BYTES:
            return False
    return True


def _move(bookmarks: dict[int, Bookmark], batch: pa.RecordBatch) -> None:
    partitions = batch.column("rowpartition").to_numpy()
    offsets, rowtimes = batch.column("rowoffset").to_numpy(), batch.column("rowtime").to_numpy()
    for partition in np.unique(partitions).tolist():
        # Within a partition rows come in the order of their offsets, so the last row has the highest.
        last = int((partitions == partition).nonzero()[0][-1])
        bookmarks[partition] = Bookmark(int(offsets[last]) + 1, int(rowtimes[last]))


def _without_rows(task: Task, once: OnceOnly, read: StreamRead, marks: Mapping[int, Bookmark]) -> dict[int, Bookmark]:
    """Bookmarks for partitions whose last offsets had no row: after an accepted gap, and at the end.

    A partition of which no row ever came gets its end as bookmark, so that rows that arrive there and expire before the
    next run are noticed as a gap. A part gets the end of its range, so that offsets without a row (such as those of
    aborted transactions) do not look like a gap when they expire.
    """
    known = {partition: gap_end for partition, (_, gap_end) in once.gaps.items()}
    if read.outcome == "exact" and read.proved and task.ends is not None:
        unread = Bookmark(0)
        known |= {p: at.end for p, at in task.ends.items() if task.is_part or marks.get(p, unread) == unread}
    return {p: Bookmark(due) for p, due in known.items() if due > marks.get(p, Bookmark(-1))[0]}
