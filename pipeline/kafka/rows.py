"""Turns records of a topic into the rows that ksqlDB makes of them, in the lake's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.columns import arrow_schema, arrow_type, lake_name
from pipeline.errors import ValueNotRepresentable
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.formats.payload import Deserialized
from pipeline.kafka.records import Headers, Records
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.rowtime import NO_TIME, rowtimes
from pipeline.unreadable import SCHEMA

NO_VALUE = "no value"
NO_ROWTIME = "no time in the timestamp column, or one before 1970"
NO_HEADER_VALUE = "a header without a value"


class Rows:
    """Turns batches of records into batches of rows; `take_left_out` returns the records that are no rows.

    Of these it returns only records from the offsets `first` on: earlier records were read only as witnesses.
    """

    def __init__(self, declaration: Declaration, registry: RegistryClient | None, first: Mapping[int, int]) -> None:
        self._declaration = declaration
        self._key = deserializer(declaration.key, registry)
        self._value = deserializer(declaration.value, registry)
        self._first = first
        self._schema = arrow_schema(declaration.columns)
        self._header_types = {column.name: arrow_type(column.type) for column in declaration.columns}
        self._left_out = list[pa.RecordBatch]()

    def batch(self, records: Records) -> pa.RecordBatch:
        """The rows of a batch, in its order."""
        declaration = self._declaration
        keys = self._key.read(records.keys) if declaration.key.columns else Deserialized(())
        values = self._value.read(records.values)
        arrays = dict(zip((name for name, _ in declaration.key.columns), keys.arrays, strict=True))
        arrays |= zip((name for name, _ in declaration.value.columns), values.arrays, strict=True)
        for name, header in declaration.headers:
            arrays[name] = pa.array(_headers(records.headers, header), type=self._header_types[name])
        times = self._rowtimes(records, arrays)
        arrays |= {
            "ROWTIME": pa.array(times),
            "ROWPARTITION": records.batch.column("partition"),
            "ROWOFFSET": records.batch.column("offset"),
        }
        columns = [arrays[column.name] for column in declaration.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        reasons = dict.fromkeys(_without_header_value(records.headers, declaration), NO_HEADER_VALUE)
        reasons |= dict.fromkeys(np.flatnonzero(times == NO_TIME).tolist(), NO_ROWTIME)
        reasons |= dict(keys.unreadable) | dict(values.unreadable) | dict.fromkeys(values.no_row, NO_VALUE)
        if uncertain := values.uncertain | keys.uncertain:
            for place in sorted(uncertain - _certain(values) - _certain(keys)):
                self._refuse(records, place, reasons[place])
        return self._without(batch, records, reasons) if reasons else batch

    def _refuse(self, records: Records, place: int, reason: str) -> None:
        """Raises ValueNotRepresentable for a record that ksqlDB may have as a row."""
        partition, offset = int(records.partitions[place]), int(records.offsets[place])
        if offset >= self._first.get(partition, 0):
            raise refused(partition, offset, reason)

    def _rowtimes(self, records: Records, arrays: Mapping[str, pa.Array]) -> Any:
        declaration = self._declaration
        if declaration.timestamp:
            return rowtimes(arrays[declaration.timestamp], declaration.timestamp_format)
        return rowtimes(records.batch.column("time"), "")

    def _without(self, batch: pa.RecordBatch, records: Records, reasons: Mapping[int, str]) -> pa.RecordBatch:
        due = [
            place
            for place in sorted(reasons)
            if records.offsets[place] >= self._first.get(int(records.partitions[place]), 0)
        ]
        if due:
            self._left_out.append(_left_out(records, due, reasons))
        kept = np.ones(len(batch), bool)
        kept[list(reasons)] = False
        return batch.filter(pa.array(kept))

    def take_left_out(self) -> list[pa.RecordBatch]:
        """The records since the last call that are no rows, in batches of `unreadable.SCHEMA`."""
        taken, self._left_out = self._left_out, []
        return taken


def _left_out(records: Records, places: Sequence[int], reasons: Mapping[int, str]) -> pa.RecordBatch:
    left_out = records.batch.take(pa.array(places))
    columns = [
        left_out.column("time"),
        left_out.column("partition"),
        left_out.column("offset"),
        pa.array([reasons[place] for place in places]),
        left_out.column("key"),
        left_out.column("value"),
    ]
    arrays = [column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def refused(partition: int, offset: int, reason: str) -> ValueNotRepresentable:
    """The error for a record that ksqlDB may have as a row."""
    return ValueNotRepresentable(
        f"the record at offset {offset} of partition {partition} cannot be read ({reason}), and ksqlDB may "
        "have a row of it",
        "read this feed by ksqlDB: python manage_feeds.py update FEED --read-from ksqldb",
    )


def _certain(read: Deserialized) -> set[int]:
    """The places where it is certain that ksqlDB has no row."""
    return (set(read.unreadable) - read.uncertain) | read.no_row


def _headers(by_record: Sequence[Headers], key: str | None) -> list[Any]:
    """All headers of each record, or the last one of that key."""
    if key is None:
        names = lake_name("KEY"), lake_name("VALUE")
        return [[dict(zip(names, header, strict=True)) for header in headers] for headers in by_record]
    return [next((value for name, value in reversed(headers) if name == key), None) for headers in by_record]


def _without_header_value(by_record: Sequence[Headers], declaration: Declaration) -> list[int]:
    """The places of records with a wanted header that has no value.

    ksqlDB has no row for such a record: its query fails there (SourceBuilderUtils wraps the bytes unchecked).
    """
    found = []
    for at, headers in enumerate(by_record if declaration.headers else ()):
        last = dict(headers)
        for _, key in declaration.headers:
            if any(value is None for _, value in headers) if key is None else last.get(key, b"") is None:
                found.append(at)
                break
    return found
