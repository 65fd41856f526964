"""A table's data files: their values in the log, their paths, and how they are read.

A file's name has the id of its commit, the fingerprint of its rows and the checksum of its bytes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import LakeDamaged
from pipeline.lake.disk import checksum, make_folder, sync_file, write_file
from pipeline.lake.names import checksum_in, commit_in, fingerprint_in, name_file
from pipeline.lake.store import Store, disk_errors
from pipeline.lake.writer import Partition, StagedFile, delta_stats

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
Bounds = Mapping[str, tuple[int, int]]
"""The smallest and the largest value of integer columns."""


@dataclass(frozen=True)
class DataFile:
    """A committed file. `bounds` are the smallest and largest value of the integer columns."""

    path: str
    partition: Partition
    row_count: int
    size_bytes: int
    added_at: dt.datetime
    bounds: Bounds

    @property
    def checksum(self) -> str:
        return checksum_in(self.path.rpartition("/")[2])

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its rows; empty for a file from before there were any."""
        return fingerprint_in(self.path.rpartition("/")[2])

    @property
    def commit(self) -> str:
        """The name of the commit that wrote it; names sort by time, and begin with that of the run."""
        return commit_in(self.path.rpartition("/")[2])

    def meets(self, within: Bounds) -> bool:
        """Whether it may have rows within these bounds; of a column without bounds it may have any."""
        pairs = [(self.bounds[name], wanted) for name, wanted in within.items() if name in self.bounds]
        return all(low <= most and high >= least for (low, high), (least, most) in pairs)

    def stats(self) -> str:
        """Delta's statistics of the file, as JSON."""
        low = {name: bounds[0] for name, bounds in self.bounds.items()}
        high = {name: bounds[1] for name, bounds in self.bounds.items()}
        return json.dumps({"numRecords": self.row_count, "minValues": low, "maxValues": high, "nullCount": {}})


def committed_file(staged: StagedFile, path: str, now: dt.datetime) -> DataFile:
    """The log's view of a staged file that was committed at `now` and lies at `path`."""
    added_ms = int((staged.written_at or now).timestamp() * 1000)
    return DataFile(
        path,
        staged.partition,
        staged.row_count,
        staged.size_bytes,
        dt.datetime.fromtimestamp(added_ms / 1000, dt.UTC),
        staged_bounds(staged),
    )


def staged_bounds(staged: StagedFile) -> Bounds:
    """The smallest and largest value of a staged file's integer columns."""
    return integer_bounds(json.loads(staged.stats))


def integer_bounds(stats: Mapping[str, Any]) -> Bounds:
    bounds = {name: (low, stats["maxValues"].get(name)) for name, low in stats["minValues"].items()}
    return {name: (low, high) for name, (low, high) in bounds.items() if isinstance(low, int) and isinstance(high, int)}


def committed_files(
    table: deltalake.DeltaTable, column: str, store: Store, within: Bounds | None = None
) -> Iterator[DataFile]:
    """The files in the log of a table that is partitioned by `column`; those that may have values `within` bounds.

    Where the log has no statistics of a file (checkpoints of some engines omit them), they are read from the file.
    """
    # pyarrow's own `table` would import pandas, which takes longer than all of this.
    actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=False)).read_all()
    actions = _overlapping(actions, within or {})
    partitions = pc.cast(pc.struct_field(actions["partition"], column), pa.string())
    columns = [partitions, *(actions[name] for name in ("path", "num_records", "size_bytes", "modification_time"))]
    known = zip(*(found.to_pylist() for found in columns), _bounds(actions), strict=True)
    for partition, path, row_count, size_bytes, added_ms, bounds in known:
        if row_count is None:
            row_count, bounds = _own_statistics(store, path)
        added_at = dt.datetime.fromtimestamp(added_ms / 1000, dt.UTC)
        yield DataFile(path, partition, row_count, size_bytes, added_at, bounds)


def _bounds(actions: pa.Table) -> Iterator[Bounds]:
    """Of each action, of the integer columns that have both."""
    sides = [actions[side] for side in ("min", "max") if side in actions.column_names]
    names = [field.name for field in sides[0].type if pa.types.is_integer(field.type)] if len(sides) == 2 else []
    there = [
        zip(*(pc.struct_field(side, name).to_pylist() for side in sides), strict=True)
        for name in names
        if sides[1].type.get_field_index(name) >= 0
    ]
    if not there:
        return itertools.repeat({}, actions.num_rows)
    rows = zip(*there, strict=True)
    return ({name: pair for name, pair in zip(names, row, strict=True) if None not in pair} for row in rows)


def _overlapping(actions: pa.Table, within: Bounds) -> pa.Table:
    """The actions of files whose bounds meet these ones or are not known."""
    for name, (least, most) in within.items() if {"min", "max"} <= set(actions.column_names) else ():
        low, high = (pc.struct_field(actions[side], name) for side in ("min", "max"))
        outside = pc.or_kleene(pc.greater(low, most), pc.less(high, least))
        actions = actions.filter(pc.invert(pc.fill_null(outside, False)))
    return actions


def _own_statistics(store: Store, path: str) -> tuple[int, Bounds]:
    """Row count and bounds; none of a file that is missing or damaged, which its reader will report."""
    try:
        with store.open_parquet(path) as opened, pq.ParquetFile(opened) as parquet:
            stats = json.loads(delta_stats(parquet.metadata, parquet.schema_arrow))
    except (OSError, pa.ArrowException):
        return 0, {}
    return stats["numRecords"], integer_bounds(stats)


def place_of(column: str, staged: StagedFile, commit_id: str, index: int) -> str:
    """The path below its table's folder that a staged file will have."""
    value = NULL_PARTITION if staged.partition is None else staged.partition
    return f"{column}={value}/{name_file(commit_id, index, staged.fingerprint, staged.checksum)}"


def files_on_disk(store: Store) -> list[str]:
    """Paths, relative to the table's folder, of all data files on disk that this package wrote."""
    return [path for path in parquet_files(store) if checksum_in(path.rpartition("/")[2])]


def files_in(store: Store, folders: Iterable[str]) -> list[str]:
    """Paths of the data files in these folders of the table that this package wrote."""
    return [f"{folder}/{name}" for folder in folders for name in store.names(folder) if checksum_in(name)]


def parquet_files(store: Store) -> Iterator[str]:
    """Paths of all Parquet files of a table, whichever program wrote them."""
    for folder in store.names():
        if folder.startswith(("date=", "version=")):
            yield from (f"{folder}/{name}" for name in store.names(folder) if name.endswith(".parquet"))


@contextlib.contextmanager
def file_errors(path: str, feed: str) -> Iterator[None]:
    """Turns errors in reading a data file into LakeDamaged, which names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise damaged(f"{path} is missing, and the log of {feed} names it", feed) from error
    except (OSError, pa.ArrowException) as error:
        problem = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not what was written"
        )
        raise damaged(f"{path} cannot be read: {problem}", feed) from error


def read_where(store: Store, feed: str, file: DataFile, wanted: pc.Expression) -> list[pa.RecordBatch]:
    """The rows of a committed file that are `wanted`; row groups without any are not read. Raises LakeDamaged."""
    with file_errors(store.uri(file.path), feed), store.open_parquet(file.path) as opened:
        found = pq.read_table(opened, filters=wanted, partitioning=None)
    return list(found.to_batches())


def read_columns(store: Store, file: DataFile, columns: Sequence[str]) -> pa.Table:
    """Some columns of a committed file."""
    with store.open_parquet(file.path) as opened, pq.ParquetFile(opened) as parquet:
        return parquet.read(columns=list(columns))


def stored_schema(store: Store, file: DataFile) -> pa.Schema:
    with store.open_parquet(file.path) as opened:
        return pq.read_schema(opened)


def stage_copy(store: Store, feed: str, file: DataFile, target: Path, partition: Partition) -> StagedFile:
    """Copies a committed file, byte for byte, to a staged file of another partition. Raises LakeDamaged."""
    where = store.uri(file.path)
    with file_errors(where, feed):
        opened = store.open_parquet(file.path)
    with opened, disk_errors(target.parent):
        make_folder(target.parent)
        with target.open("wb") as copy:
            shutil.copyfileobj(opened, copy)
        sync_file(target)
        digest = checksum(target)
    if digest != file.checksum:
        raise damaged(f"{where} is not what was written", feed)
    size, stats = file.size_bytes, file.stats()
    return StagedFile(target, partition, file.row_count, size, digest, stats, fingerprint=file.fingerprint)


def stage_bytes(data: bytes, target: Path) -> Path:
    """Writes a local file that is on its way into a store."""
    write_file(target, data)
    return target


def read_staged(store: Store, staged: StagedFile, columns: Sequence[str]) -> pa.Table:
    """Some columns of a staged file of this store's table."""
    with disk_errors(staged.path, "read"), _opened(store, staged) as opened, pq.ParquetFile(opened) as parquet:
        return parquet.read(columns=list(columns))


def _opened(store: Store, staged: StagedFile) -> pa.NativeFile:
    place = staged.path
    return store.open_parquet(place) if isinstance(place, str) else pa.OSFile(str(place), "rb")


def read_all_staged(staged: Iterable[StagedFile]) -> Iterator[pa.RecordBatch]:
    """The rows of staged files."""
    for file in staged:
        with disk_errors(file.path, "read"), pq.ParquetFile(file.path) as parquet:
            yield from parquet.iter_batches()


def damaged(message: str, feed: str) -> LakeDamaged:
    return LakeDamaged(message, f"see what can be done: python metadata_utils.py repair {feed}")


def read_files(
    store: Store, feed: str, files: Sequence[DataFile], schema: pa.Schema, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows of committed files in the columns of `schema`; columns that a file does not have are null.

    Raises LakeDamaged for a file that is missing or cannot be read.
    """
    for file in files:
        with file_errors(store.uri(file.path), feed):
            opened = store.open_parquet(file.path)
        with opened:
            for batch in batches_in(opened, store.uri(file.path), feed, batch_rows):
                yield _fit(batch, schema)


def batches_in(opened: pa.NativeFile, where: str, feed: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with file_errors(where, feed):
        parquet = pq.ParquetFile(opened)
    # A batch that spans row groups would not be bounded in bytes.
    groups = range(parquet.num_row_groups)
    batches = (batch for group in groups for batch in parquet.iter_batches(batch_rows, row_groups=[group]))
    while True:
        with file_errors(where, feed):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(column.name) if column.name in batch.schema.names else pa.nulls(batch.num_rows, column.type)
        for column in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
