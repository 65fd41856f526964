"""A table's data files: what a committed one is, where it lies, and how it is read.

A name says which commit a file is of and what is in it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import LakeDamaged
from pipeline.lake.local_store import checksum, disk_errors, refuse_links
from pipeline.lake.writer import Partition, StagedFile

STAGING = "_staging"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_OUR_FILE = re.compile(r"(?P<commit>[0-9TZ]+-[0-9a-f]+)-\d{5}-(?P<checksum>[0-9a-f]{16})\.parquet")


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
        match = _OUR_FILE.fullmatch(Path(self.path).name)
        return match["checksum"] if match else ""

    def stats(self) -> str:
        """Delta's statistics of the file, as they were written with it."""
        low = {name: bounds[0] for name, bounds in self.bounds.items()}
        high = {name: bounds[1] for name, bounds in self.bounds.items()}
        return json.dumps({"numRecords": self.row_count, "minValues": low, "maxValues": high, "nullCount": {}})


def committed_files(table: deltalake.DeltaTable, column: str) -> Iterator[DataFile]:
    """The files that the log of a table names, which is partitioned by `column`."""
    for action in pa.table(table.get_add_actions(flatten=False)).to_pylist():
        partition = action["partition"][column]
        low, high = action.get("min") or {}, action.get("max") or {}
        yield DataFile(
            path=action["path"],
            partition=None if partition is None else str(partition),
            row_count=action["num_records"],
            size_bytes=action["size_bytes"],
            added_at=dt.datetime.fromtimestamp(action["modification_time"] / 1000, dt.UTC),
            bounds={
                name: (low[name], high[name])
                for name in low
                if isinstance(low[name], int) and isinstance(high.get(name), int)
            },
        )


def place_of(column: str, staged: StagedFile, commit_id: str, index: int) -> str:
    """The path, in its table, that a staged file will have."""
    value = NULL_PARTITION if staged.partition is None else staged.partition
    return f"{column}={value}/{commit_id}-{index:05}-{staged.checksum}.parquet"


def files_on_disk(folder: Path) -> list[str]:
    """Paths, relative to the table's folder, of all data files of ours that exist."""
    found = (path for column in ("date", "version") for path in folder.glob(f"{column}=*/*.parquet"))
    return sorted(str(path.relative_to(folder)) for path in found if _OUR_FILE.fullmatch(path.name))


def refuse_links_below(folder: Path) -> None:
    """Raises LakeDamaged when a folder of the table, or one above it in the lake, is a symbolic link."""
    refuse_links(folder.parent, folder)
    if folder.is_dir():
        with os.scandir(folder) as entries:
            refuse_links(*(Path(entry.path) for entry in entries if entry.is_symlink()))


@contextlib.contextmanager
def file_errors(path: Path, feed: str) -> Iterator[None]:
    """Names a data file that is missing or cannot be read. Raises LakeDamaged."""
    try:
        yield
    except FileNotFoundError as error:
        raise _damaged(f"{path} is missing, and the log of {feed} names it", feed) from error
    except (OSError, pa.ArrowException) as error:
        problem = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not what was written"
        )
        raise _damaged(f"{path} cannot be read: {problem}", feed) from error


def file_problem(folder: Path, file: DataFile) -> str | None:
    """What is wrong with the file; None when it has the size, the bytes and the rows that were written."""
    path = folder / file.path
    try:
        size = path.stat().st_size
        if size != file.size_bytes:
            return f"size is {size} bytes, {file.size_bytes} were written"
        if checksum(path) != file.checksum:
            return "content is not what was written (checksum differs)"
        rows = pq.read_metadata(path).num_rows
    except FileNotFoundError:
        return "file is missing"
    except (OSError, pa.ArrowException):
        return "file cannot be read"
    return None if rows == file.row_count else f"file has {rows} rows, {file.row_count} were written"


def read_where(folder: Path, feed: str, file: DataFile, wanted: pc.Expression) -> list[pa.RecordBatch]:
    """The rows of a committed file that are `wanted`; other row groups are not read. Raises LakeDamaged."""
    with file_errors(folder / file.path, feed):
        found = pq.read_table(folder / file.path, filters=wanted, partitioning=None)
    return list(found.to_batches())


def read_staged(staged: StagedFile, columns: Sequence[str]) -> pa.Table:
    """Some columns of a staged file."""
    with disk_errors(staged.path, "read"), pq.ParquetFile(staged.path) as parquet:
        return parquet.read(columns=list(columns))


def _damaged(message: str, feed: str) -> LakeDamaged:
    return LakeDamaged(message, f"see what can be done: python metadata_utils.py repair {feed}")


def read_files(
    folder: Path, feed: str, files: Sequence[DataFile], schema: pa.Schema, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows of committed files in the columns of `schema`; those that a file does not have yet are null.

    Raises LakeDamaged for a file that is missing or cannot be read.
    """
    for file in files:
        with file_errors(folder / file.path, feed):
            parquet = pq.ParquetFile(folder / file.path)
        with parquet:
            batches = parquet.iter_batches(batch_size=batch_rows)
            while True:
                with file_errors(folder / file.path, feed):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield _fit(batch, schema)


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(column.name) if column.name in batch.schema.names else pa.nulls(batch.num_rows, column.type)
        for column in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
