"""What the tests of formats share: payloads read, and what was read in the emulator's terms."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ksqldb_emulator.sqltypes import Type, parse_type
from pipeline.columns import SqlType, arrow_type
from pipeline.kafka.connection import Registry
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.formats.payload import Deserialized, Deserializer, FormatName, Payload
from pipeline.kafka.registry import RegisteredSchema, RegistryClient
from pipeline.ksqldb import sqltypes
from tests.expected import lake_form, lake_name, seen_forms


def columns_of(types: Mapping[str, str]) -> tuple[tuple[str, SqlType], ...]:
    return tuple((name, sqltypes.parse_type(text)) for name, text in types.items())


class Schemas(RegistryClient):
    """A registry that has these schemas, by number."""

    def __init__(self, schemas: Mapping[int, RegisteredSchema]) -> None:
        super().__init__(Registry("mock://"))
        self._schemas = schemas
        self.asked: list[int] = []

    def schema(self, number: int, form: str | None = None) -> RegisteredSchema:  # noqa: ARG002 # they have one form
        self.asked.append(number)
        return self._schemas[number]


def reader_of(
    format_: FormatName,
    types: Mapping[str, str],
    wrapped: bool = True,
    delimiter: str = ",",
    registry: RegistryClient | None = None,
) -> Deserializer:
    return deserializer(Payload(format_, columns_of(types), wrapped, delimiter), registry)


def whole(read: Deserialized, types: Sequence[SqlType], count: int) -> Deserialized:
    """The same, checked: arrays of these types, as long as there were payloads, null where there is no row."""
    assert [array.type for array in read.arrays] == [arrow_type(type_) for type_ in types]
    for array in read.arrays:
        array.validate(full=True)
        assert len(array) == count
        assert all(array[at].as_py() is None for at in (*read.unreadable, *read.no_row))
    assert not read.unreadable.keys() & read.no_row
    return read


def rows_read(reader: Deserializer, types: Mapping[str, str], payloads: Sequence[bytes | None]) -> list[Any]:
    """For each payload the lake forms of its row (see tests.expected), its reason as text, or None for no row."""
    columns = columns_of(types)
    read = whole(reader.read(pa.array(payloads, pa.binary())), [type_ for _, type_ in columns], len(payloads))
    forms = [seen_forms(array) for array in read.arrays]
    return [
        read.unreadable.get(at) or (None if at in read.no_row else tuple(form[at] for form in forms))
        for at in range(len(payloads))
    ]


def lake_row(values: Sequence[Any], types: Mapping[str, str]) -> tuple[Any, ...]:
    return tuple(lake_form(value, parse_type(text)) for value, text in zip(values, types.values(), strict=True))


def server_values(array: pa.Array, type_: Type) -> list[Any]:
    """What was read, in the terms of the emulator's data: DATE in days, TIME and TIMESTAMP in milliseconds."""
    return [_server_value(form, type_) for form in seen_forms(array)]


def _server_value(form: Any, type_: Type) -> Any:
    if form is None:
        return None
    if type_.base == "DOUBLE":
        return math.nan if form == "nan" else struct.unpack(">d", bytes.fromhex(form))[0]
    if type_.base == "DECIMAL":
        return Decimal(form)
    if type_.base == "TIME":
        hours, minutes, seconds = form.split(":")
        return (int(hours) * 60 + int(minutes)) * 60_000 + round(Decimal(seconds) * 1000)
    if type_.base == "TIMESTAMP":
        assert form % 1000 == 0
        return form // 1000
    if type_.base == "ARRAY":
        return [_server_value(item, type_.element) for item in form]
    if type_.base == "MAP":
        return {key: _server_value(item, type_.element) for key, item in form}
    if type_.base == "STRUCT":
        return {name: _server_value(form[lake_name(name)], inner) for name, inner in type_.fields}
    return form
