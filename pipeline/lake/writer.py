"""Arrow batches into Parquet files of one staging folder, one set of files a partition, in bounded memory.

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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import PartitionColumnUnusable
from pipeline.lake.disk import checksum, delete_file, make_folder, sync_file
from pipeline.lake.store import disk_errors

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 * 2**20
"""Of values in memory: what reaches either limit is written."""
_WAITING_BYTES = 2 * ROW_GROUP_BYTES
_SMALL_BATCHES = 256
_OPEN_FILES = 512
_YEAR_1, _YEAR_10000 = (pa.scalar(ms, pa.timestamp("ms")) for ms in (-62_135_596_800_000, 253_402_300_800_000))

Partition = str | None


@dataclass(frozen=True)
class StagedFile:
    """A finished, synced Parquet file that no reader knows of. `stats` is Delta's JSON of counts and bounds.

    `written_at` is when its rows first came into the lake, where that is earlier than its commit.
    """

    path: Path
    partition: Partition
    row_count: int
    size_bytes: int
    checksum: str
    stats: str
    written_at: dt.datetime | None = None


@dataclass
class _Open:
    """A file that is being written. `waiting` are batches for its next row group, `small` the newest ones."""

    path: Path
    file: pa.OSFile
    writer: pq.ParquetWriter
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    small: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """A batch costs more than its values: many small ones become one."""
        self.small.append(batch)
        self.waiting_rows += batch.num_rows
        self.waiting_bytes += batch.nbytes
        if len(self.small) >= _SMALL_BATCHES:
            self.waiting.append(pa.concat_batches(self.small))
            self.small = []


class StagedWriter:
    """Writes batches of one schema. `date_column` names the column whose UTC date is the partition (streams);
    without it everything goes to the one `partition` (a table's version).
    """

    def __init__(
        self, folder: Path, schema: pa.Schema, date_column: str | None = None, partition: Partition = None
    ) -> None:
        self._folder, self._schema = folder, schema
        self._date_column, self._partition = date_column, partition
        self._open: OrderedDict[Partition, _Open] = OrderedDict()
        self._staged: list[StagedFile] = []
        self._file_count = self._waiting_bytes = 0
        self._most_open = min(_OPEN_FILES, max(8, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
        self.row_count = 0
        if date_column is not None:
            check_partition_column(schema, date_column)
        with disk_errors(folder):
            make_folder(folder)

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes columns in any order. Raises DiskFull or LakeNotWritable; everything staged is removed then."""
        batch = batch.select(self._schema.names)
        self.row_count += batch.num_rows
        with self._all_or_nothing():
            if self._date_column is None:
                self._append(self._partition, batch)
                return
            dates = partition_dates([batch], self._date_column)[0]
            for partition, rows in _by_date(batch, dates):
                self._append(partition, rows)

    def finish(self) -> list[StagedFile]:
        """Closes and syncs every file. A table's version without rows is a file without rows: it exists."""
        with self._all_or_nothing():
            if self._date_column is None and not self._open and not self._staged:
                self._append(self._partition, _empty(self._schema))
            while self._open:
                self._close(next(iter(self._open)))
        return self._staged

    def discard(self) -> None:
        """Removes everything that was staged; what a broken disk does not let go the next run removes."""
        for entry in self._open.values():
            with contextlib.suppress(OSError):
                entry.writer.close()
            entry.writer.is_open = False  # or it would try once more when it is collected, on a closed file
            with contextlib.suppress(OSError):
                entry.file.close()
        for path in [entry.path for entry in self._open.values()] + [staged.path for staged in self._staged]:
            with contextlib.suppress(OSError):
                delete_file(path)
        self._open.clear()
        self._staged.clear()

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            with disk_errors(self._folder):
                yield
        except BaseException:
            self.discard()
            raise

    def _append(self, partition: Partition, batch: pa.RecordBatch) -> None:
        if partition not in self._open:
            while len(self._open) >= self._most_open:
                self._close(next(iter(self._open)))
            path = self._folder / f"{self._file_count:05}.staged"
            self._file_count += 1
            file = pa.OSFile(str(path), "wb")
            writer = pq.ParquetWriter(file, self._schema, compression="snappy", store_decimal_as_integer=True)
            self._open[partition] = _Open(path, file, writer)
        entry = self._open[partition]
        self._open.move_to_end(partition)
        entry.add(batch)
        self._waiting_bytes += batch.nbytes
        if entry.waiting_rows >= ROW_GROUP_ROWS or entry.waiting_bytes >= ROW_GROUP_BYTES:
            self._write_waiting(entry)
        elif self._waiting_bytes >= _WAITING_BYTES:
            self._write_waiting(max(self._open.values(), key=lambda entry: entry.waiting_bytes))

    def _write_waiting(self, entry: _Open) -> None:
        if entry.waiting or entry.small:
            rows = pa.Table.from_batches([*entry.waiting, *entry.small], self._schema)
            entry.writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        self._waiting_bytes -= entry.waiting_bytes
        entry.waiting, entry.small, entry.waiting_rows, entry.waiting_bytes = [], [], 0, 0

    def _close(self, partition: Partition) -> None:
        entry = self._open[partition]
        self._write_waiting(entry)
        entry.writer.close()
        entry.file.close()
        sync_file(entry.path)
        del self._open[partition]
        metadata = pq.read_metadata(entry.path)
        self._staged.append(
            StagedFile(
                path=entry.path,
                partition=partition,
                row_count=metadata.num_rows,
                size_bytes=entry.path.stat().st_size,
                checksum=checksum(entry.path),
                stats=_delta_stats(metadata, self._schema),
            )
        )


def _by_date(batch: pa.RecordBatch, dates: pa.Array) -> Iterator[tuple[Partition, pa.RecordBatch]]:
    """The rows of each date, in their order, as batches of their own: one that shares memory would keep all of it."""
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
    """Removes staged files that will not be committed; what a broken disk does not let go the next run removes."""
    for file in files:
        with contextlib.suppress(OSError):
            delete_file(file.path)


def check_partition_column(schema: pa.Schema, column: str) -> None:
    """Raises PartitionColumnUnusable when rows of this schema cannot be partitioned by the column's date."""
    partition_dates([_empty(schema)], column)


def partition_dates(batches: list[pa.RecordBatch], column: str) -> list[pa.Array]:
    """The UTC date of each row's partition: of `rowtime` (epoch ms) or of a TIMESTAMP or DATE column.

    Null where the column is null, and outside of the years 1 to 9999, which not every reader of the lake knows.
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
    """What the feed can be partitioned by instead, whether it is being added or is there."""
    others = [f"date:{field.name}" for field in schema if _has_dates(field.type)]
    return f"choose one that it has, by --partitioning of manage_feeds.py: {', '.join(['date', *others])}"


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _delta_stats(metadata: pq.FileMetaData, schema: pa.Schema) -> str:
    """Delta's statistics: the row count, and exact bounds of the integer columns (offsets and ROWTIME among them).

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
