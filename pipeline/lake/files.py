"""A table's data files: their values in the log, their paths, and how they are read.

A file's name has the id of its commit and the checksum of its bytes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
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
from pipeline.fingerprint import ContentHash
from pipeline.lake.disk import checksum, make_folder, sync_file, write_file
from pipeline.lake.names import checksum_in, commit_in, name_file
from pipeline.lake.store import Store, disk_errors
from pipeline.lake.writer import Partition, StagedFile, delta_stats

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class DataFile:
    """A committed file. `bounds` are the smallest and largest value of the integer columns."""

    path: str
    partition: Partition
    row_count: int
    size_bytes: int
    added_at: dt.datetime
    bounds: Mapping[str, tuple[int, int]]

    @property
    def checksum(self) -> str:
        return checksum_in(self.path.rpartition("/")[2])

    @property
    def commit(self) -> str:
        """The name of the commit that wrote it; names sort by time, and begin with that of the run."""
        return commit_in(self.path.rpartition("/")[2])

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


def staged_bounds(staged: StagedFile) -> dict[str, tuple[int, int]]:
    """The smallest and largest value of a staged file's integer columns."""
    stats = json.loads(staged.stats)
    bounds = {name: (low, stats["maxValues"].get(name)) for name, low in stats["minValues"].items()}
    return {name: (low, high) for name, (low, high) in bounds.items() if isinstance(low, int) and isinstance(high, int)}


def committed_files(table: deltalake.DeltaTable, column: str, store: Store) -> Iterator[DataFile]:
    """The files in the log of a table that is partitioned by `column`.

    Where the log has no statistics of a file (checkpoints of some engines omit them), they are read from the file.
    """
    # pyarrow's own `table` would import pandas, which takes longer than all of this.
    actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=False))
    for action in actions.read_all().to_pylist():
        partition = action["partition"][column]
        row_count, low, high = action["num_records"], action.get("min") or {}, action.get("max") or {}
        if row_count is None:
            row_count, low, high = _own_statistics(store, action["path"])
        yield DataFile(
            path=action["path"],
            partition=None if partition is None else str(partition),
            row_count=row_count,
            size_bytes=action["size_bytes"],
            added_at=dt.datetime.fromtimestamp(action["modification_time"] / 1000, dt.UTC),
            bounds={
                name: (low[name], high[name])
                for name in low
                if isinstance(low[name], int) and isinstance(high.get(name), int)
            },
        )


def _own_statistics(store: Store, path: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Row count, lowest and highest values; none of a file that is missing or damaged, which its reader will report."""
    try:
        with store.open_parquet(path) as opened, pq.ParquetFile(opened) as parquet:
            stats = json.loads(delta_stats(parquet.metadata, parquet.schema_arrow))
    except (OSError, pa.ArrowException):
        return 0, {}, {}
    return stats["numRecords"], stats["minValues"], stats["maxValues"]


def place_of(column: str, staged: StagedFile, commit_id: str, index: int) -> str:
    """The path below its table's folder that a staged file will have."""
    value = NULL_PARTITION if staged.partition is None else staged.partition
    return f"{column}={value}/{name_file(commit_id, index, staged.checksum)}"


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
        raise _damaged(f"{path} is missing, and the log of {feed} names it", feed) from error
    except (OSError, pa.ArrowException) as error:
        problem = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not what was written"
        )
        raise _damaged(f"{path} cannot be read: {problem}", feed) from error


def file_problem(store: Store, file: DataFile) -> str | None:
    """What is wrong with the file; None when it has the size, the bytes and the rows that were written."""
    try:
        size = store.size(file.path)
        if size is None:
            return "file is missing"
        if size != file.size_bytes:
            return f"size is {size} bytes, {file.size_bytes} were written"
        with store.open_parquet(file.path) as opened:
            if not _is_as_written(opened, file):
                return "content is not what was written (checksum differs)"
            rows = pq.read_metadata(opened).num_rows
    except (OSError, pa.ArrowException):
        return "file cannot be read"
    return None if rows == file.row_count else f"file has {rows} rows, {file.row_count} were written"


def has_file(store: Store, file: DataFile) -> bool:
    """Whether the file is in the store with the size and the bytes that were written."""
    if store.size(file.path) != file.size_bytes:
        return False
    with store.open_parquet(file.path) as opened:
        return _is_as_written(opened, file)


def _is_as_written(opened: pa.NativeFile, file: DataFile) -> bool:
    digest = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    opened.seek(0)
    return digest == file.checksum


def add_rows_of(content: ContentHash, store: Store, feed: str, file: DataFile, schema: pa.Schema) -> None:
    """Adds the rows of a committed file, in the columns of `schema`. Raises LakeDamaged for other bytes than were
    written.
    """
    where = store.uri(file.path)
    with file_errors(where, feed):
        opened = store.open_parquet(file.path)
    with opened:
        with file_errors(where, feed):
            if not _is_as_written(opened, file):
                raise _damaged(f"{where} is not what was written", feed)
        for batch in _batches(opened, where, feed, 65_536):
            content.add_batch(_fit(batch, schema))


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
        raise _damaged(f"{where} is not what was written", feed)
    return StagedFile(target, partition, file.row_count, file.size_bytes, digest, file.stats())


def stage_bytes(data: bytes, target: Path) -> Path:
    """Writes a local file that is on its way into a store."""
    write_file(target, data)
    return target


def read_staged(staged: StagedFile, columns: Sequence[str]) -> pa.Table:
    """Some columns of a staged file."""
    with disk_errors(staged.path, "read"), pq.ParquetFile(staged.path) as parquet:
        return parquet.read(columns=list(columns))


def read_all_staged(staged: Iterable[StagedFile]) -> Iterator[pa.RecordBatch]:
    """The rows of staged files."""
    for file in staged:
        with disk_errors(file.path, "read"), pq.ParquetFile(file.path) as parquet:
            yield from parquet.iter_batches()


def _damaged(message: str, feed: str) -> LakeDamaged:
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
            for batch in _batches(opened, store.uri(file.path), feed, batch_rows):
                yield _fit(batch, schema)


def _batches(opened: pa.NativeFile, where: str, feed: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
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
