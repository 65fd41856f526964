"""Checks that the topic is still the one that the lake's rows came from, by the last rows before each bookmark.

In a recreated topic, or under a changed declaration of the stream, these witnesses have other values than the lake's
rows, or are at offsets where the lake has no row. The lake has the values to compare with, so nothing else is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import TopicChanged
from pipeline.exact_text import texts_of
from pipeline.export.stage import Staged
from pipeline.lake.files import read_where
from pipeline.lake.table import LakeTable
from pipeline.once import windows_of
from pipeline.source import Source, Task

_PLACE = ("rowpartition", "rowoffset")
Place = tuple[int, int]


class Witnesses:
    """Compares the witnesses of a stream's read with the lake's rows, before the read is committed."""

    def __init__(self, table: LakeTable, source: Source) -> None:
        self._table, self._source = table, source
        self._strangers: set[int] = set()  # partitions whose witnesses are all at offsets without a row in the lake
        self._known: set[int] = set()

    def check(self, task: Task, part: Staged) -> None:
        """Raises TopicChanged when a witness has other values than the lake's row at its offset, or when the lake has
        rows at none of a partition's witnesses and the part has rows after them.

        NULLs in the lake are not compared: the row may be older than the column. A missing witness proves nothing:
        compaction and retention remove rows too.
        """
        windows = windows_of(task)
        self._compare(part.witnesses, windows)
        brought_rows = {p for p, mark in part.bookmarks.items() if mark.last_rowtime_ms is not None}
        for partition in sorted(self._strangers & (windows.keys() if part.outcome else brought_rows)):
            start, end = windows[partition]
            raise self._changed(
                f"partition {partition} has rows from offset {start} to {end - 1} where the lake has none, "
                "and none where the lake has some"
            )

    def _compare(self, witnesses: Sequence[pa.RecordBatch], windows: Mapping[int, tuple[int, int]]) -> None:
        came = _texts(witnesses)
        partitions = {partition for partition, _ in came}
        there = _texts(_rows_at(self._table, {(p, offset) for p in partitions for offset in range(*windows[p])}))
        for place in sorted(came.keys() & there.keys(), reverse=True):
            now, then = came[place], there[place]
            changed = [name for name, text in then.items() if text is not None and now.get(name, text) != text]
            if changed:
                raise self._changed(
                    f"offset {place[1]} of partition {place[0]} has other values than in the lake "
                    f"({', '.join(changed)})"
                )
        self._known |= {partition for partition, _ in came.keys() & there.keys()}
        self._strangers |= partitions & {partition for partition, _ in there}
        self._strangers -= self._known

    def _changed(self, what: str) -> TopicChanged:
        feed, source = self._table.feed.name, self._source
        return TopicChanged(
            f"{what}: the topic {source.topic} was recreated, or {source.name} is declared otherwise now",
            f"a recreated topic: keep the history under its feed (manage_feeds.py archive {feed}) and "
            f"add a new one; the same topic: export_to_data_lake.py --stream {feed} --full",
        )


def _texts(batches: Iterable[pa.RecordBatch]) -> dict[Place, dict[str, str | None]]:
    found: dict[Place, dict[str, str | None]] = {}
    for batch in batches:
        columns = {name: texts_of(batch.column(name)).to_pylist() for name in batch.schema.names}
        places = zip(*(batch.column(name).to_pylist() for name in _PLACE), strict=True)
        for row, place in enumerate(places):
            found[place] = {name: texts[row] for name, texts in columns.items()}
    return found


def _rows_at(table: LakeTable, places: Collection[Place]) -> Iterator[pa.RecordBatch]:
    """The lake's rows at these places; only files and row groups whose bounds include one are read."""
    by_partition: dict[int, set[int]] = {}
    for partition, offset in places:
        by_partition.setdefault(partition, set()).add(offset)
    for partition, offsets in by_partition.items():
        wanted = (pc.field("rowpartition") == partition) & pc.field("rowoffset").isin(sorted(offsets))
        for file in table.files_with(partition, min(offsets), max(offsets)):
            yield from read_where(table.store, table.feed.name, file, wanted)
