"""Objects as files: a large one that is read in pieces, and a log whose lines are added at the end of a process."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable

from pipeline.errors import PipelineError
from pipeline.lake.bucket import Bucket

_READ_AHEAD_BYTES = 8 * 2**20


class ObjectReader(io.RawIOBase):
    """A large object as a file: what is read is fetched with what follows it."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._place = self._start = 0
        self._piece = b""

    def read(self, size: int = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._place + size, self._size)
        if not self._start <= self._place <= end <= self._start + len(self._piece):
            self._start = self._place
            until = min(max(end, self._place + _READ_AHEAD_BYTES), self._size)
            self._piece = self._bucket.get_range(self._key, self._start, until) if until > self._start else b""
        found = self._piece[self._place - self._start : end - self._start]
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class ObjectLog(logging.Handler):
    """Lines that are gathered, and added to an object when the process ends; those of a killed process are lost."""

    def __init__(self, append: Callable[[bytes], None]) -> None:
        super().__init__()
        self._append, self._lines = append, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record) + "\n")

    def close(self) -> None:
        lines, self._lines = self._lines, []
        with contextlib.suppress(PipelineError, OSError):  # the same lines are on stderr
            if lines:
                self._append("".join(lines).encode(errors="backslashreplace"))
        super().close()
