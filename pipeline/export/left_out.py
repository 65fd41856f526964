"""Records of one part of a task that are no rows: counted by reason, and staged where the feed keeps them.

They count as read, like rows: the bookmarks of the part lie after them, so each belongs to one commit.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from pipeline.lake.staging import Kept
from pipeline.lake.writer import StagedFile, StagedWriter
from pipeline.source import Bookmark
from pipeline.unreadable import counted, ends, not_before


class LeftOut:
    """The records of one part, staged below `name`, without those that the lake already has."""

    def __init__(self, kept: Kept | None, name: str) -> None:
        self._kept, self._name = kept, name
        self._writer: StagedWriter | None = None
        self.counts: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch, bookmarks: dict[int, Bookmark]) -> None:
        """Counts and stages the records, and moves `bookmarks` past them."""
        self.counts += counted(batch)
        for partition, end in ends(batch).items():
            if end > bookmarks.get(partition, Bookmark(0)).next_offset:
                bookmarks[partition] = Bookmark(end)
        if self._kept is None:
            return
        new = not_before(batch, self._kept.reached)
        if new.num_rows:
            self._writer = self._writer or self._kept.writer(self._name)
            self._writer.add(new)

    def finish(self) -> list[StagedFile]:
        return self._writer.finish() if self._writer else []

    def discard(self) -> None:
        if self._writer:
            self._writer.discard()
