"""Records of a table's topic: which row each of them changes, and the rows that ksqlDB makes of them.

A record is no change of the table if it has no key, or if ksqlDB cannot read its key or value, or if its timestamp
column has no time: the row stays as it was. A record that ksqlDB may be able to read, though it is not certain how, is
an error, unless a later change of the same row makes it irrelevant. Facts: Kafka Streams' sources of tables skip
records without a key, and those with a negative timestamp; ksqlDB's handler goes on after a record it cannot read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.columns import arrow_schema
from pipeline.exact_text import lines_of, texts_of
from pipeline.kafka.changes import RECORDS
from pipeline.kafka.declaration import WINDOW_BOUNDS, Declaration
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.formats.payload import places_without
from pipeline.kafka.formats.windowed_key import split_windowed
from pipeline.kafka.records import Records
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.rows import NO_ROWTIME, refused
from pipeline.kafka.rowtime import NO_TIME, rowtimes

NO_KEY = "no key"
_NULL_KEY = "a key that is NULL"
_NULL_VALUE = "a value that is NULL, where a delete has none"
_TIMELESS_DELETE = "a delete, where ROWTIME is that of a column"
_SAME_BYTES = ("INTEGER", "BIGINT", "STRING", "BYTES")
"""Types for which, in the format KAFKA, keys are equal only if their bytes are."""


@dataclass(frozen=True)
class _Keys:
    """Decoded keys: their columns, the reasons for places without a key, and the places where that is not certain."""

    columns: dict[str, pa.Array]
    unreadable: dict[int, str]
    uncertain: set[int]


class TableRows:
    """Reads the records of one table. `left_out` counts, by reason, the records that are no change."""

    def __init__(self, declaration: Declaration, registry: RegistryClient | None) -> None:
        self._declaration = declaration
        self._key = deserializer(declaration.key, registry)
        self._value = deserializer(declaration.value, registry)
        self._schema = arrow_schema(declaration.columns)
        key = declaration.key
        self._bytes_are_names = key.format == "KAFKA" and key.columns[0][1].base in _SAME_BYTES
        self.left_out: Counter[str] = Counter()

    def changes(self, records: Records) -> tuple[pa.Array, pa.RecordBatch]:
        """The records that have a key, in the schema RECORDS, and for each the name of its row.

        Raises ValueNotRepresentable for a key whose reading is not certain.
        """
        keys = self._keys(records.keys)
        for place in sorted(keys.uncertain):
            raise refused(int(records.partitions[place]), int(records.offsets[place]), keys.unreadable[place])
        batch = records.batch.select(RECORDS.names)
        names = batch.column("key") if self._bytes_are_names else _names(list(keys.columns.values()))
        if not keys.unreadable:
            return names, batch
        self.left_out.update(keys.unreadable.values())
        kept = pa.array(_without(len(records), list(keys.unreadable)))
        return names.filter(kept), batch.filter(kept)

    def rows_of(self, records: pa.RecordBatch) -> list[tuple[int, bytes]]:
        """The row of each record: its partition, and its name."""
        raw = records.column("key")
        names = raw if self._bytes_are_names else _names(list(self._keys(raw).columns.values()))
        return list(zip(records.column("partition").to_pylist(), names.to_pylist(), strict=True))

    def rows(self, records: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
        """The rows of the records, without deletes; and by place the reasons why other records are no change.

        Raises ValueNotRepresentable for a record that ksqlDB may have as a row.
        """
        values = records.column("value")
        columns, read = self._keys(records.column("key")).columns, self._value.read(values)
        columns |= zip((name for name, _ in self._declaration.value.columns), read.arrays, strict=True)
        deletes = places_without(values)
        unread, uncertain = dict(read.unreadable), set(read.uncertain)
        if not self._declaration.value.wrapped:
            nulls = places_without(read.arrays[0]) - unread.keys() - deletes
            unread |= dict.fromkeys(nulls, _NULL_VALUE)
            uncertain |= nulls
        if self._declaration.timestamp:
            unread |= dict.fromkeys(self._without_time(columns) - unread.keys() - deletes, NO_ROWTIME)
            unread |= dict.fromkeys(deletes, _TIMELESS_DELETE)
            uncertain |= deletes
        for place in sorted(uncertain):
            partition, offset = records.column("partition")[place].as_py(), records.column("offset")[place].as_py()
            raise refused(partition, offset, unread[place])
        rows = pa.RecordBatch.from_arrays(
            [columns[column.name] for column in self._declaration.columns], schema=self._schema
        )
        self.left_out.update(unread.values())
        no_row = [*unread, *deletes]
        return (rows.filter(pa.array(_without(len(rows), no_row))) if no_row else rows), dict(sorted(unread.items()))

    def _keys(self, raw: pa.Array) -> _Keys:
        window, columns = self._declaration.window, dict[str, pa.Array]()
        unreadable, keys = dict[int, str](), raw
        if window:
            split = split_windowed(raw.to_pylist(), window.type)
            keys, unreadable = pa.array(split.keys, pa.binary()), dict(split.unreadable)
            starts = pa.array(split.starts, pa.int64())
            ends = pa.array(split.ends, pa.int64()) if split.ends else _ends(split.starts, window.size_ms)
            columns = dict(zip(WINDOW_BOUNDS, (starts, ends), strict=True))
        read = self._key.read(keys)
        columns |= zip((name for name, _ in self._declaration.key.columns), read.arrays, strict=True)
        unreadable |= dict(read.unreadable)
        uncertain = set(read.uncertain)
        unreadable |= dict.fromkeys(places_without(keys) - unreadable.keys(), NO_KEY)
        if not self._declaration.key.wrapped:
            nulls = places_without(read.arrays[0]) - unreadable.keys()
            unreadable |= dict.fromkeys(nulls, _NULL_KEY)
            uncertain |= nulls
        return _Keys(columns, unreadable, uncertain)

    def _without_time(self, columns: dict[str, pa.Array]) -> set[int]:
        declaration = self._declaration
        times = rowtimes(columns[declaration.timestamp], declaration.timestamp_format)
        return set(np.flatnonzero(times == NO_TIME).tolist())


def _names(columns: Sequence[pa.Array]) -> pa.Array:
    return lines_of([texts_of(column) for column in columns]).cast(pa.binary())


def _ends(starts: Sequence[int | None], size_ms: int) -> pa.Array:
    """The ends of windows as Java computes them: never after the largest BIGINT."""
    most = 2**63 - 1
    return pa.array([None if start is None else min(start + size_ms, most) for start in starts], pa.int64())


def _without(count: int, places: Sequence[int]) -> Any:
    kept = np.ones(count, bool)
    kept[places] = False
    return kept
