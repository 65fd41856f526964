"""Reduces the changes of a table to the newest row of each key, without deleted rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.decode.layout import Layout
from pipeline.exact_text import lines_of, texts_of
from pipeline.ksqldb.framing import Rows

_BATCH_ROWS = 65_536


def row_keys(batch: pa.RecordBatch, layout: Layout) -> list[str]:
    """The key of each row as text, equal only for equal keys; for a windowed table with the window's bounds."""
    places = [place for place, column in enumerate(layout.columns) if column.role == "KEY"]
    keys: list[str] = lines_of([texts_of(batch.column(place)) for place in places]).to_pylist()
    return keys


class NewestRows:
    """Holds one row a key in memory, and at times as many outdated ones."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held: list[pa.RecordBatch] = []
        self._held_count = 0
        self._places: dict[str, int] = {}  # of the newest row of each key, among all that are held

    def add(self, rows: Rows) -> None:
        deletes = set(rows.tombstones)
        for place, key in enumerate(row_keys(rows.batch, self._layout)):
            self._places.pop(key, None)
            if place not in deletes:
                self._places[key] = self._held_count + place
        self._held.append(rows.batch)
        self._held_count += rows.batch.num_rows
        if self._held_count > 2 * len(self._places) + _BATCH_ROWS:
            self._drop_outdated()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows that are left."""
        self._drop_outdated()
        for batch in self._held:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)

    def _drop_outdated(self) -> None:
        places = np.fromiter(self._places.values(), np.int64, len(self._places))
        wanted, start, kept = np.sort(places), 0, list[pa.RecordBatch]()
        for batch in self._held:
            first, last = np.searchsorted(wanted, [start, start + batch.num_rows])
            if first < last:
                kept.append(batch.take(pa.array(wanted[first:last] - start)))
            start += batch.num_rows
        self._held, self._held_count = kept, len(wanted)
        self._places = dict(zip(self._places, np.searchsorted(wanted, places).tolist(), strict=True))
