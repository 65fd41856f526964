"""The rows of one task, or of a whole table, staged as whole Parquet files that no commit names yet.

`stage` is a function of plain values, so a task can be staged by this process or by another one that sees the same
storage; whoever holds the feed commits what it gives back. A crash leaves staged files, which the next run removes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from pipeline.source import Bookmark, Outcome, StreamRead, StreamSource, TableRead, Task

PART_BYTES = 2**30
"""Of values in memory, after which a part ends, however few its rows are."""


@dataclass(frozen=True)
class Staged:
    """A part of a task, ready to be committed: all rows up to its `bookmarks`.

    `outcome` says how the task ended; None where it `goes_on`, or stalled. `replayed_rows` and `gaps` are of it so far;
    `witnesses` are rows from before the bookmarks that it began at, which the lake should have. `unreadable` counts, by
    reason, the records of the part that are no rows; in `unreadable_files` are those that are to be kept.
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

    def discard(self) -> None:
        """Removes what was staged."""
        discard([*self.files, *self.unreadable_files])


def stage(
    task: Task, stream: StreamSource, limits: Limits, staging: Staging, name: str, commit_rows: int | None = None
) -> Iterator[Staged]:
    """Each row of the task once, in parts of about `commit_rows` rows, staged below `name`; the last may have none.

    Raises ReadStalled after the part with what came before, and what reading raises; nothing more is staged then.
    """
    once, read = OnceOnly(task), stream.read(task, limits)
    moved = dict(task.start)
    stalled: ReadStalled | None = None
    for part in itertools.count():
        own = name_of_part(name, part)
        writer, left_out = WriterBehind(staging.writer(own)), LeftOut(staging.kept, own)
        bookmarks, ended = dict[int, Bookmark](), False
        try:
            ended = _fill(writer, left_out, read, once, commit_rows, bookmarks)
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
                     witnesses, dict(left_out.counts), left_out.finish())  # fmt: skip
        if stalled is not None:
            raise stalled
        if ended:
            return


@dataclass(frozen=True)
class StagedTable:
    """A read of a table in files that no commit names; see `export.believed`. `number` counts the reads."""

    read: TableRead
    writer: WriterBehind
    files: list[StagedFile]
    schema: pa.Schema
    number: int

    @classmethod
    def of(
        cls, read: TableRead, folder: Path, partition: str, number: int, compression: Compression = "snappy"
    ) -> StagedTable:
        schema = arrow_schema(read.columns)
        writer = WriterBehind(StagedWriter(folder, schema, partition=partition, compression=compression))
        try:
            for batch in read.batches:
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
    once: OnceOnly,
    limit: int | None,
    bookmarks: dict[int, Bookmark],
) -> bool:
    """Writes batches until `limit` rows are there, or as many bytes as a part may have; moves `bookmarks` along.

    Returns whether the read has ended.
    """
    size_bytes = 0
    for batch in map(once.keep, read.batches):
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
    for partition in set(partitions.tolist()):
        # Within a partition rows come in the order of their offsets, so the last row has the highest.
        last = int((partitions == partition).nonzero()[0][-1])
        bookmarks[partition] = Bookmark(int(offsets[last]) + 1, int(rowtimes[last]))


def _without_rows(task: Task, once: OnceOnly, read: StreamRead, marks: Mapping[int, Bookmark]) -> dict[int, Bookmark]:
    """Where to go on in partitions whose last offsets brought no row: after an accepted gap, and at the end.

    That is the end of those never read, so that rows that come there and expire before the next run are a gap as well;
    and of each part, whose offsets without a row (of aborted transactions, for one) are then no gap when they expire.
    """
    known = {partition: gap_end for partition, (_, gap_end) in once.gaps.items()}
    if read.outcome == "exact" and read.proved and task.ends is not None:
        known |= {p: offsets.end for p, offsets in task.ends.items() if task.is_part or p not in marks}
    return {p: Bookmark(due) for p, due in known.items() if due > marks.get(p, Bookmark(-1))[0]}
