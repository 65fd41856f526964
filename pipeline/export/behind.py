"""Rows written by a thread of their own, while those after them are read and decoded.

Few bytes wait to be written; who reads faster than the disk takes waits then, and with it whoever sends. The order of
rows is that in which they were added, and nothing is written after a failure.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from pipeline.lake.writer import StagedFile, StagedWriter

MOST_WAITING_BYTES = 16 * 2**20
"""Of values in memory: about what is decoded while a row group is written. A batch may be larger by itself."""


class WriterBehind:
    """A `StagedWriter` in a thread, which begins with the first batch. What the writer raises comes with a later call.

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
        """Of the batches that were not written when this was asked last."""
        return sum(size_bytes for _, size_bytes in self._waiting)

    def add(self, batch: pa.RecordBatch) -> None:
        """Waits while too much would wait to be written. Raises DiskFull or LakeNotWritable for earlier batches."""
        while self._waiting and (self._waiting[0][0].done() or self.waiting_bytes + batch.nbytes > MOST_WAITING_BYTES):
            self._wait_for_oldest()
        self._waiting.append((self._thread.submit(self._write, batch), batch.nbytes))
        self.row_count += batch.num_rows

    def finish(self) -> list[StagedFile]:
        """All that was added, in closed and synced files. Raises what `add` does; everything is removed then."""
        try:
            while self._waiting:
                self._wait_for_oldest()
        except BaseException:
            self.discard()
            raise
        self._thread.shutdown()
        return self._writer.finish()

    def discard(self) -> None:
        """Removes everything that was staged; waits for the one batch that is being written."""
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
