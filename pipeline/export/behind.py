"""Writes rows in a second thread, while the next ones are read and decoded.

Only few bytes may wait to be written; a reader that is faster than the disk has to wait, and so does its server. Rows
are written in the order in which they were added, and nothing is written after a failure.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from pipeline.lake.writer import StagedFile, StagedWriter

MOST_WAITING_BYTES = 16 * 2**20
"""Limit on bytes of values in memory: about what is decoded while a row group is written. One batch may be larger."""


class WriterBehind:
    """A `StagedWriter` in a thread, which starts with the first batch. Errors of the writer are raised by a later call.

    To be ended by `finish` or `discard`.
    """

    def __init__(self, writer: StagedWriter) -> None:
        self.row_count = 0
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "writer")
        self._waiting = deque[tuple[Future[None], int]]()
        self._failed = False

    @property
    def waiting_bytes(self) -> int:
        """The size of the batches that are not known to be written yet."""
        return sum(size_bytes for _, size_bytes in self._waiting)

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds a batch; waits while too many bytes are not written yet. Raises errors of earlier batches: DiskFull or
        LakeNotWritable.
        """
        size_bytes = batch.nbytes
        while self._waiting and (self._waiting[0][0].done() or self.waiting_bytes + size_bytes > MOST_WAITING_BYTES):
            self._wait_for_oldest()
        self._waiting.append((self._thread.submit(self._write, batch), size_bytes))
        self.row_count += batch.num_rows

    def finish(self) -> list[StagedFile]:
        """The closed and synced files with all rows. Raises as `add` does, and then removes all files."""
        try:
            while self._waiting:
                self._wait_for_oldest()
        except BaseException:
            self.discard()
            raise
        self._thread.shutdown()
        return self._writer.finish()

    def discard(self) -> None:
        """Removes all staged files; waits for the batch that is being written."""
        self._thread.shutdown(cancel_futures=True)
        self._waiting.clear()
        self._writer.discard()

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._failed:
            return
        self._failed = True
        self._writer.add(batch)
        self._failed = False

    def _wait_for_oldest(self) -> None:
        self._waiting[0][0].result()
        self._waiting.popleft()
