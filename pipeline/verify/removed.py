"""Rows that the lake removed on purpose while the source may still have them: they are not reported as missing.

An expiry removes the rows of a day, and late rows of that day too, whatever the retention is now, until all of the day
has come back. A repair gives up the rows of a lost file. All of this is recorded in the feed's commits. Rows that were
read into the lake again are compared.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.files import DataFile
from pipeline.lake.retention import still_expired
from pipeline.lake.rewrite import place_keys
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import partition_dates

Bounds = tuple[int, int, int, int]
"""The first and the last topic partition, the first and the last offset."""
_ANY = (0, 2**63 - 1)


@dataclass(frozen=True)
class Removed:
    """Rows that expired up to `last_day`, and rows within `given_up` that a repair gave up; `kept` are the keys of rows
    among them that are in the lake all the same.
    """

    partition_column: str
    last_day: dt.date | None
    given_up: tuple[Bounds, ...]
    given_up_rows: int
    kept: pa.Array

    @classmethod
    def by(cls, table: LakeTable) -> Removed:
        """Reads them from the commits of a stream's table."""
        notes = [entry.get("pipeline") or {} for entry in reversed(table.history())]
        days = still_expired(notes)
        repairs = [note for note in notes if note.get("kind") == "repair" and note.get("lost_rows")]
        last_day = dt.date.fromisoformat(max(days)) if days else None
        bounds = tuple((b[0], b[1], b[2], b[3]) for note in repairs for b in note.get("bounds", ()))
        files = [file for file in table.files if _may_hold(file, last_day, bounds)]
        keys = [place_keys(batch) for batch in table.read_batches(files)]
        return cls(
            table.feed.partition_column,
            last_day,
            bounds,
            sum(note["lost_rows"] for note in repairs),
            pa.concat_arrays(keys or [pa.array([], pa.int64())]),
        )

    def split(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int, int]:
        """The rows of the source that the lake should have, and how many others expired or were given up.

        Expired rows may be between the offsets of a file that was given up: they were not in it.
        """
        lacking = pc.invert(pc.is_in(place_keys(batch), value_set=self.kept))
        expired = pc.and_(lacking, self._is_old(batch))
        given_up = pc.and_not(pc.and_(lacking, within(batch, self.given_up)), expired)
        rest = batch.filter(pc.invert(pc.or_(given_up, expired)))
        return rest, pc.sum(expired).as_py() or 0, pc.sum(given_up).as_py() or 0

    def _is_old(self, batch: pa.RecordBatch) -> pa.Array:
        if self.last_day is None:
            return pa.array([False] * batch.num_rows, pa.bool_())
        dates = partition_dates([batch], self.partition_column)[0]
        return pc.fill_null(pc.less_equal(dates, pa.scalar(self.last_day)), False)


def bounds_of(file: DataFile) -> Bounds:
    """The bounds of a stream's file; other files may have rows within the same bounds."""
    return (*file.bounds.get("rowpartition", _ANY), *file.bounds.get("rowoffset", _ANY))


def overlap(one: Bounds, other: Bounds) -> bool:
    """Whether a row can be within both."""
    return one[0] <= other[1] and other[0] <= one[1] and one[2] <= other[3] and other[2] <= one[3]


def within(batch: pa.RecordBatch, bounds: Sequence[Bounds]) -> pa.Array:
    """Which rows of a stream are within any of the bounds."""
    partitions, offsets = (batch.column(name).cast(pa.int64()) for name in ("rowpartition", "rowoffset"))
    found = pa.array([False] * batch.num_rows, pa.bool_())
    for first_partition, last_partition, first_offset, last_offset in bounds:
        of_partition = pc.and_(pc.greater_equal(partitions, first_partition), pc.less_equal(partitions, last_partition))
        of_offset = pc.and_(pc.greater_equal(offsets, first_offset), pc.less_equal(offsets, last_offset))
        found = pc.or_(found, pc.and_(of_partition, of_offset))
    return found


def _may_hold(file: DataFile, last_day: dt.date | None, bounds: Sequence[Bounds]) -> bool:
    if last_day is not None and file.partition and file.partition <= last_day.isoformat():
        return True
    return any(overlap(bounds_of(file), given) for given in bounds)
