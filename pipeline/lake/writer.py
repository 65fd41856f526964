"""Writes Arrow batches to Parquet files in one staging folder, one file a partition, in bounded memory.

Nothing here is visible to readers of the lake: staged files become data files when `table` moves and commits them.
A crash leaves staged files, which the next run of the feed removes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import resource
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import PartitionColumnUnusable
from pipeline.lake.disk import checksum, delete_file, make_folder
from pipeline.lake.encoding import Compression, Encodings
from pipeline.lake.open_file import OpenFile
from pipeline.lake.store import disk_errors

_WAITING_BYTES = 64 * 2**20
"""Limit on the bytes of rows in memory that are gathered for row groups, over all open files; besides, a quarter of it
is for rows that come with other dates' rows.
"""
_OPEN_FILES = 512
_YEAR_1, _YEAR_10000 = (pa.scalar(ms, pa.timestamp("ms")) for ms in (-62_135_596_800_000, 253_402_300_800_000))

Partition = str | None


@dataclass(frozen=True)
class StagedFile:
    """A finished, synced Parquet file that no reader knows of. `stats` is Delta's JSON of counts and bounds.

    `path` is text where it is the file's name in a store, see `Store.hand_over`. `written_at` is when its rows first
    came into the lake, where that is earlier than its commit. `fingerprint` is that of its rows;
    empty for the copy of a file that has none.
    """

    path: Path | str
    partition: Partition
    row_count: int
    size_bytes: int
    checksum: str
    stats: str
    written_at: dt.datetime | None = None
    fingerprint: str = ""


class StagedWriter:
    """Writes batches of one schema. `date_column` names the column whose UTC date is the partition (streams);
    without it everything goes to the one `partition` (a table's version).
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        date_column: str | None = None,
        partition: Partition = None,
        compression: Compression = "snappy",
    ) -> None:
        self._folder, self._schema = folder, schema
        self._date_column, self._partition = date_column, partition
        self._open: OrderedDict[Partition, OpenFile] = OrderedDict()
        self._staged: list[StagedFile] = []
        self._mixed: list[pa.RecordBatch] = []  # with rows of several dates, in the order in which they came
        self._mixed_bytes = 0
        self._encodings = Encodings(compression)
        self._added_at: dict[Partition, int] = {}  # how many bytes had been added with the newest rows of a file
        self._file_count = self._waiting_bytes = self._added_bytes = 0
        self._most_open = min(_OPEN_FILES, max(8, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
        self.row_count = 0
        if date_column is not None:
            check_partition_column(schema, date_column)
        with disk_errors(folder):
            make_folder(folder)

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds rows; columns may be in any order. Raises DiskFull or LakeNotWritable, and removes all its files."""
        batch = batch.select(self._schema.names)
        self.row_count += batch.num_rows
        with self._all_or_nothing():
            if self._date_column is None:
                self._append(self._partition, batch)
                return
            found = pc.unique(partition_dates([batch], self._date_column)[0])
            if len(found) > 1:
                self._mixed.append(batch)
                self._mixed_bytes += batch.nbytes
            if len(found) <= 1 or self._mixed_bytes >= _WAITING_BYTES // 4:
                self._part_mixed()
            for date in found if len(found) <= 1 else ():
                self._append(_iso(date), batch)

    def finish(self) -> list[StagedFile]:
        """Closes and syncs every file. A table's version without rows has one file without rows, so that it exists."""
        with self._all_or_nothing():
            if self._date_column is None and not self._open and not self._staged:
                self._append(self._partition, _empty(self._schema))
            self._part_mixed()
            while self._open:  # first those whose rows are in memory, which then has room for those of the others
                self._close(max(self._open, key=lambda partition: self._open[partition].waiting_bytes))
        return sorted(self._staged, key=lambda file: str(file.path))

    def discard(self) -> None:
        """Removes all staged files; files that a broken disk keeps are removed by the next run."""
        for file in self._open.values():
            file.discard()
        discard(self._staged)
        self._open.clear()
        self._staged.clear()
        self._mixed.clear()

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            with disk_errors(self._folder):
                yield
        except BaseException:
            self.discard()
            raise

    def _part_mixed(self) -> None:
        """Appends the mixed rows to the files of their dates, many at once: each part has a cost of its own."""
        if not self._mixed:
            return
        batch = pa.concat_batches(self._mixed)
        self._mixed, self._mixed_bytes = [], 0
        assert self._date_column is not None
        for partition, rows in by_date(batch, self._date_column):
            self._append(partition, rows)

    def _append(self, partition: Partition, batch: pa.RecordBatch) -> None:
        if partition not in self._open:
            while len(self._open) >= self._most_open:
                self._close(next(iter(self._open)))
            path = self._folder / f"{self._file_count:05}.staged"
            self._file_count += 1
            self._open[partition] = OpenFile(path, self._schema, self._encodings)
        file = self._open[partition]
        self._open.move_to_end(partition)
        before, size_bytes = file.waiting_bytes, batch.nbytes
        file.add(batch, size_bytes)
        self._waiting_bytes += file.waiting_bytes - before
        self._added_bytes += size_bytes
        self._added_at[partition] = self._added_bytes
        if self._waiting_bytes >= _WAITING_BYTES:
            self._make_room()

    def _make_room(self) -> None:
        """Closes a file whose date has passed, else moves the rows of the largest one to the disk."""
        for partition, file in self._open.items():
            has_passed = self._added_bytes - self._added_at[partition] >= _WAITING_BYTES // 2
            if has_passed and file.waiting_bytes >= _WAITING_BYTES // 16:
                self._close(partition)
                return
        largest = max(self._open.values(), key=lambda file: file.waiting_bytes)
        self._waiting_bytes -= largest.waiting_bytes
        largest.spill()

    def _close(self, partition: Partition) -> None:
        file = self._open[partition]
        self._waiting_bytes -= file.waiting_bytes
        file.finish()
        del self._open[partition]
        metadata = pq.read_metadata(file.path)
        self._staged.append(
            StagedFile(
                path=file.path,
                partition=partition,
                row_count=metadata.num_rows,
                size_bytes=file.path.stat().st_size,
                checksum=checksum(file.path),
                stats=delta_stats(metadata, self._schema),
                fingerprint=file.content.hexdigest(),
            )
        )


def by_date(batch: pa.RecordBatch, column: str) -> Iterator[tuple[Partition, pa.RecordBatch]]:
    """The rows of each date, in order, as copied batches: a slice would keep the whole batch in memory."""
    dates = partition_dates([batch], column)[0]
    found = pc.unique(dates)
    if len(found) <= 1:
        yield from ((_iso(date), batch) for date in found)
        return
    numbers = pc.index_in(dates, value_set=found).to_numpy(zero_copy_only=False)
    order = np.argsort(numbers, kind="stable")
    for date, places in zip(found, np.split(order, np.cumsum(np.bincount(numbers))[:-1]), strict=True):
        yield _iso(date), batch.take(pa.array(places))


def _iso(date: pa.Scalar) -> Partition:
    return date.as_py().isoformat() if date.is_valid else None


def discard(files: Sequence[StagedFile]) -> None:
    """Removes staged files that will not be committed; the next run removes those in a store, and those that a broken
    disk keeps.
    """
    for file in files:
        if isinstance(file.path, Path):
            with contextlib.suppress(OSError):
                delete_file(file.path)


def check_partition_column(schema: pa.Schema, column: str) -> None:
    """Raises PartitionColumnUnusable when rows of this schema cannot be partitioned by the column's date."""
    partition_dates([_empty(schema)], column)


def date_columns(schema: pa.Schema) -> list[str]:
    """The columns, besides `rowtime`, by whose date rows can be partitioned."""
    return [field.name for field in schema if _has_dates(field.type)]


def partition_dates(batches: list[pa.RecordBatch], column: str) -> list[pa.Array]:
    """The UTC date of each row's partition: of `rowtime` (epoch ms) or of a TIMESTAMP or DATE column.

    Null where the column is null, and outside of the years 1 to 9999, which not every reader of the lake supports.
    Raises PartitionColumnUnusable.
    """
    dates = []
    for batch in batches:
        if column not in batch.schema.names:
            raise PartitionColumnUnusable(
                f"the feed is partitioned by the column {column!r}, which it does not have",
                _partitioning_hint(batch.schema),
            )
        values = batch.column(column)
        if column == "rowtime":
            values = values.cast(pa.timestamp("ms"))
        elif not _has_dates(values.type):
            raise PartitionColumnUnusable(
                f"the feed is partitioned by the column {column!r}, which is neither TIMESTAMP nor DATE",
                _partitioning_hint(batch.schema),
            )
        moments = values.cast(pa.timestamp("ms"), safe=False)
        near = pc.and_(pc.greater_equal(moments, _YEAR_1), pc.less(moments, _YEAR_10000))
        dates.append(pc.if_else(near, values, pa.scalar(None, values.type)).cast(pa.date32(), safe=False))
    return dates


def _has_dates(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_) or pa.types.is_date(type_))


def _partitioning_hint(schema: pa.Schema) -> str:
    """The columns that the feed can be partitioned by, for a new feed and for an existing one."""
    others = [f"date:{name}" for name in date_columns(schema)]
    return f"choose one that it has, by --partitioning of manage_feeds.py: {', '.join(['date', *others])}"


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def delta_stats(metadata: pq.FileMetaData, schema: pa.Schema) -> str:
    """Delta's statistics as JSON: the row count, and exact bounds of the integer columns (also offsets and ROWTIME).

    Parquet joins the names of nested columns with dots, so names with dots are left out.
    """
    bounded = {field.name for field in schema if pa.types.is_integer(field.type) and "." not in field.name}
    bounds: dict[str, tuple[int, int]] = {}
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for chunk in (group.column(i) for i in range(group.num_columns)):
            name, found = chunk.path_in_schema, chunk.statistics
            if name in bounded and found is not None and found.has_min_max:
                low, high = bounds.get(name, (found.min, found.max))
                bounds[name] = (min(low, found.min), max(high, found.max))
    return json.dumps(
        {
            "numRecords": metadata.num_rows,
            "minValues": {name: low for name, (low, _) in bounds.items()},
            "maxValues": {name: high for name, (_, high) in bounds.items()},
            "nullCount": {},
        }
    )
