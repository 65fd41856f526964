"""One data file while it is written, row group by row group.

The rows of the next row group are gathered in memory. When many files are open, the rows of some are moved to a second
file beside the data file, so memory is bounded and row groups are still large. Parquet's writer, which holds megabytes,
is made with the first row group: a file of one row group needs it for a moment only. A crash leaves both files; the
next run removes them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.fingerprint import ContentHash
from pipeline.lake.disk import delete_file, sync_file
from pipeline.lake.encoding import Encodings

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 * 2**20
"""The limits of a row group: rows, and bytes of values in memory."""
_SMALL_BATCHES, _SMALL_BYTES = 256, 64 * 1024


class OpenFile:
    """A data file that is being written. `waiting_bytes` is the size of the rows gathered in memory, `content` the
    fingerprint of those that have left it.
    """

    def __init__(self, path: Path, schema: pa.Schema, encodings: Encodings) -> None:
        self.path, self._schema, self._encodings = path, schema, encodings
        self.waiting_bytes, self.content = 0, ContentHash()
        self._waiting: list[pa.RecordBatch] = []
        self._small: list[pa.RecordBatch] = []  # the newest of those that wait
        self._group_rows = self._group_bytes = 0
        self._spill_path = path.with_suffix(".spill")
        self._spill: tuple[pa.OSFile, pa.RecordBatchStreamWriter] | None = None
        self._parquet: tuple[pa.OSFile, pq.ParquetWriter] | None = None

    def add(self, batch: pa.RecordBatch, size_bytes: int) -> None:
        """Adds rows that have so many bytes. Small batches are joined: each one costs memory beyond its values. Large
        ones are never copied.
        """
        self.waiting_bytes += size_bytes
        self._group_rows += batch.num_rows
        self._group_bytes += size_bytes
        if size_bytes >= _SMALL_BYTES:
            self._join_small()
            self._waiting.append(batch)
        else:
            self._small.append(batch)
        if len(self._small) >= _SMALL_BATCHES:
            self._join_small()
        if self._group_rows >= ROW_GROUP_ROWS or self._group_bytes >= ROW_GROUP_BYTES:
            self._write_group(is_long=True)

    def spill(self) -> None:
        """Moves the rows in memory to the second file."""
        if self._spill is None:
            file = pa.OSFile(str(self._spill_path), "wb")
            self._spill = file, pa.ipc.new_stream(file, self._schema)
        for batch in self._take_waiting():
            self._spill[1].write_batch(batch)

    def finish(self) -> None:
        """Writes the remaining rows and syncs the file; without rows the file is empty but valid."""
        if self._group_rows or self._parquet is None:
            self._write_group(is_long=False)
        assert self._parquet is not None
        file, writer = self._parquet
        writer.close()
        file.close()
        sync_file(self.path)

    def discard(self) -> None:
        """Removes the files; what a broken disk keeps is removed by the next run."""
        if self._parquet is not None:
            file, writer = self._parquet
            with contextlib.suppress(OSError):
                writer.close()
            writer.is_open = False  # else the garbage collector would close it again, on a closed file
            with contextlib.suppress(OSError):
                file.close()
        with contextlib.suppress(OSError):
            self._close_spill()
        for path in (self.path, self._spill_path):
            with contextlib.suppress(OSError):
                delete_file(path)

    def _join_small(self) -> None:
        if self._small:
            self._waiting.append(pa.concat_batches(self._small))
            self._small = []

    def _take_waiting(self) -> list[pa.RecordBatch]:
        self._join_small()
        batches, self._waiting, self.waiting_bytes = self._waiting, [], 0
        self.content.add_batches(batches)
        return batches

    def _write_group(self, is_long: bool) -> None:
        batches = [*self._take_spilled(), *self._take_waiting()]
        rows = pa.Table.from_batches(batches, self._schema)
        self._group_rows = self._group_bytes = 0
        if self._parquet is None:
            options, file = self._encodings.options(rows, is_long), pa.OSFile(str(self.path), "wb")
            self._parquet = file, pq.ParquetWriter(file, self._schema, **options)
        if rows.num_rows:
            self._parquet[1].write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def _take_spilled(self) -> list[pa.RecordBatch]:
        if self._spill is None:
            return []
        self._close_spill()
        with pa.OSFile(str(self._spill_path)) as file, pa.ipc.open_stream(file) as spilled:
            batches = list(spilled)
        delete_file(self._spill_path)
        return batches

    def _close_spill(self) -> None:
        if self._spill is not None:
            (file, writer), self._spill = self._spill, None
            writer.close()
            file.close()
