"""How far long work has come, feed by feed: the library counts here, and whoever shows it looks when it likes.

Nothing is printed here, and counting costs next to nothing. Each feed is counted by one thread; any thread may look.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported before anything that takes long is needed
    import pyarrow as pa


class Meter:
    """What is being done with one feed, and how much of it is done.

    `size_bytes` are those of the rows in memory, or of the files that are read; `due_rows` and `due_bytes` what there
    is to do, None where the end is not known.
    """

    def __init__(self, name: str, doing: str = "") -> None:
        self.name = name
        self.begin(doing)

    def begin(self, doing: str, due_rows: int | None = None, due_bytes: int | None = None) -> None:
        """Begins a step, and counts from nothing."""
        self.doing, self.due_rows, self.due_bytes = doing, due_rows, due_bytes
        self.rows, self.size_bytes, self._begun = 0, 0, time.monotonic()

    def add(self, rows: int, size_bytes: int = 0) -> None:
        self.rows += rows
        self.size_bytes += size_bytes

    def counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, counted as they pass."""
        for batch in batches:
            self.add(batch.num_rows, batch.nbytes)
            yield batch

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.monotonic() - self._begun

    @property
    def rows_per_s(self) -> float:
        return self.rows / max(self.seconds, 0.001)

    @property
    def left_s(self) -> float | None:
        """The seconds to the end at the speed so far; None where the end is not known, or nothing is done yet."""
        for done, due in ((self.rows, self.due_rows), (self.size_bytes, self.due_bytes)):
            if due is not None and done:
                return self.seconds * max(0, due - done) / done
        return None


class Progress:
    """The feeds that are worked on now."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}

    @contextlib.contextmanager
    def at(self, name: str, doing: str) -> Iterator[Meter]:
        """Counts the work on a feed until the block ends."""
        self._meters[name] = meter = Meter(name, doing)
        try:
            yield meter
        finally:
            self._meters.pop(name, None)

    def of(self, name: str) -> Meter:
        """The meter of a feed that is worked on; where nobody began, one that nobody looks at."""
        return self._meters.get(name) or Meter(name)

    def meters(self) -> list[Meter]:
        """Those of the present, in the order in which their work began."""
        return list(self._meters.values())
