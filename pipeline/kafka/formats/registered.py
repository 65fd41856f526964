"""Payloads that name their schema: a zero, the schema's number in four bytes, and the encoded value.

Facts: Confluent's wire format, which ksqlDB's converters read (AbstractKafkaSchemaSerDe). ksqlDB also requires a schema
registered for the topic; that is not checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipeline.columns import SqlType
from pipeline.decode.arrays import Arrays, NotHeld
from pipeline.kafka.formats.payload import Deserialized, Payload, Uncertain, Unreadable, places_without

Decode = Callable[[bytes], Any]
"""Decodes an encoded value to a row, or a single value; raises Unreadable."""
_PREFIX_BYTES = 5
_MAGIC = b"\x00"


class RegisteredDeserializer:
    """See `Deserializer`. `decoder` makes the decoder for a schema's number, and may ask the registry."""

    def __init__(self, payload: Payload, decoder: Callable[[int], Decode]) -> None:
        self._payload, self._make = payload, decoder
        self._decoders: dict[int, Decode] = {}

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        return read_each(self._payload, payloads, self._row)

    def _row(self, payload: bytes) -> Any:
        if payload[:1] != _MAGIC:
            raise Unreadable("no magic byte at its start")
        if len(payload) < _PREFIX_BYTES:
            raise Unreadable("too short for the number of its schema")
        number = int.from_bytes(payload[1:_PREFIX_BYTES], "big")
        decode = self._decoders.get(number)
        if decode is None:
            decode = self._decoders[number] = self._make(number)
        return decode(payload[_PREFIX_BYTES:])


def read_each(payload: Payload, payloads: pa.BinaryArray, decode: Decode) -> Deserialized:
    """Decodes payloads one by one, and makes columns of them."""
    unreadable, uncertain = dict[int, str](), set[int]()
    values: list[Any] = []
    for at, one in enumerate(payloads.to_pylist()):
        value = None
        if one is not None:
            try:
                value = decode(one)
                if value is None and payload.wrapped:
                    raise Unreadable("a bare null where STRUCT is declared")
            except Unreadable as error:
                unreadable[at] = str(error).removeprefix(": ")
                if isinstance(error, Uncertain):
                    uncertain.add(at)
        values.append(value)
    arrays = Arrays()
    type_ = SqlType("STRUCT", fields=payload.columns) if payload.wrapped else payload.columns[0][1]
    try:
        array = arrays.array(values, type_)
    except NotHeld:
        for at, value in enumerate(values):
            try:
                arrays.array([value], type_)
            except NotHeld as error:
                values[at], unreadable[at] = None, str(error)
                uncertain.add(at)
        array = arrays.array(values, type_)
    columns = tuple(array.flatten()) if payload.wrapped else (array,)
    return Deserialized(columns, unreadable, places_without(payloads), uncertain)
