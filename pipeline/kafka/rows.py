"""Turns records of a topic into the rows that ksqlDB makes of them, in the lake's columns."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from pipeline.columns import arrow_schema, arrow_type, lake_name
from pipeline.errors import ValueNotRepresentable
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.formats.payload import Deserialized
from pipeline.kafka.reader import Records
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.rowtime import NO_TIME, rowtimes
from pipeline.unreadable import SCHEMA

NO_VALUE = "no value"
NO_ROWTIME = "no time in the timestamp column, or one before 1970"
NO_HEADER_VALUE = "a header without a value"
_KEY, _VALUE, _TIME = map(operator.methodcaller, ("key", "value", "timestamp"))


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
        messages, declaration = records.messages, self._declaration
        keys = self._key.read(list(map(_KEY, messages))) if declaration.key.columns else Deserialized(())
        values = self._value.read(list(map(_VALUE, messages)))
        arrays = dict(zip((name for name, _ in declaration.key.columns), keys.arrays, strict=True))
        arrays |= zip((name for name, _ in declaration.value.columns), values.arrays, strict=True)
        for name, header in declaration.headers:
            arrays[name] = pa.array(_headers(messages, header), type=self._header_types[name])
        times = self._rowtimes(messages, arrays)
        arrays |= {
            "ROWTIME": pa.array(times),
            "ROWPARTITION": pa.array(records.partitions),
            "ROWOFFSET": pa.array(records.offsets),
        }
        columns = [arrays[column.name] for column in declaration.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        reasons = dict.fromkeys(_without_header_value(messages, declaration), NO_HEADER_VALUE)
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

    def _rowtimes(self, messages: Sequence[Message], arrays: Mapping[str, pa.Array]) -> Any:
        declaration = self._declaration
        if declaration.timestamp:
            return rowtimes(arrays[declaration.timestamp], declaration.timestamp_format)
        kinds_and_times: Any = itertools.chain.from_iterable(map(_TIME, messages))
        kinds, times = np.fromiter(kinds_and_times, np.int64, 2 * len(messages)).reshape(-1, 2).T
        return np.where(kinds == TIMESTAMP_NOT_AVAILABLE, NO_TIME, np.maximum(times, NO_TIME))

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
    messages = [records.messages[place] for place in places]
    kinds_and_times = map(_TIME, messages)
    columns = [
        [None if kind == TIMESTAMP_NOT_AVAILABLE else time for kind, time in kinds_and_times],
        records.partitions[places],
        records.offsets[places],
        [reasons[place] for place in places],
        list(map(_KEY, messages)),
        list(map(_VALUE, messages)),
    ]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
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


def _headers(messages: Sequence[Message], key: str | None) -> list[Any]:
    """All headers of each record, or the last one of that key."""
    by_record = [message.headers() or [] for message in messages]
    if key is None:
        names = lake_name("KEY"), lake_name("VALUE")
        return [[dict(zip(names, header, strict=True)) for header in headers] for headers in by_record]
    return [next((value for name, value in reversed(headers) if name == key), None) for headers in by_record]


def _without_header_value(messages: Sequence[Message], declaration: Declaration) -> list[int]:
    """The places of records with a wanted header that has no value.

    ksqlDB has no row for such a record: its query fails there (SourceBuilderUtils wraps the bytes unchecked).
    """
    found = []
    for at, message in enumerate(messages if declaration.headers else ()):
        headers: Any = message.headers() or []
        last = dict(headers)
        for _, key in declaration.headers:
            if any(value is None for _, value in headers) if key is None else last.get(key, b"") is None:
                found.append(at)
                break
    return found
