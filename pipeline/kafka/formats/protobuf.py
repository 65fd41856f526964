"""PROTOBUF and PROTOBUF_NOSR: messages by their schema in the registry, or by the one that ksqlDB makes of columns.

Facts, from Confluent's ProtobufConverter and ProtobufData with the settings that ksqlDB gives them, and ksqlDB's
ProtobufNoSRConverter:
- Between the schema's number and the message is the index path of its type in the schema, as signed varints after
  their count; a count of 0 means the first type.
- A missing number, text, boolean, enum or list has its default: 0, empty, false. So has a NULL that ksqlDB has written.
  Only missing messages, and missing fields that are `optional` in proto3, are NULL.
- uint32 and fixed32 are BIGINT; uint64 is reinterpreted as signed. Enums are the names of their values. A `oneof` is a
  STRUCT named after it, with an underscore and its index.
- DECIMAL is confluent.type.Decimal, DATE google.type.Date, TIME google.type.TimeOfDay, TIMESTAMP
  google.protobuf.Timestamp; wrappers such as StringValue are STRUCTs of a `value`.
- Without a registry the fields have the numbers 1, 2, ... in the order of the columns.
Where ksqlDB's reading is not certain the value is refused: dates before 1583 (the calendar), unset fields of proto2,
values that an enum does not have, bare values in a wrapper as the whole record.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
from confluent_kafka.schema_registry.confluent import meta_pb2
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.message import DecodeError

from pipeline.columns import SqlType
from pipeline.errors import TypeNotSupported
from pipeline.kafka.formats.connect import ConnectField, ConnectType, Convert, translation
from pipeline.kafka.formats.java import narrowed
from pipeline.kafka.formats.payload import Deserialized, Payload, Uncertain, Unreadable
from pipeline.kafka.formats.protobuf_files import message_of_columns, registered_file
from pipeline.kafka.formats.registered import Decode, RegisteredDeserializer, read_each
from pipeline.kafka.registry import RegistryClient

_BROKEN = "no message of its schema"
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_FIRST_SURE_YEAR = 1583
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_F: Any = descriptor_pb2.FieldDescriptorProto
_FIELD_META: Any = getattr(meta_pb2, "field_meta")  # noqa: B009 # made when it is imported


def protobuf_deserializer(payload: Payload, registry: RegistryClient) -> RegisteredDeserializer:
    """A reader of messages by their registered schema. Raises TypeNotSupported for single values without a message."""
    declared = _declared(payload)
    return RegisteredDeserializer(payload, lambda number: _RegisteredMessages(registry, number, declared).decode)


class ColumnsDeserializer:
    """Reads messages by the schema that ksqlDB makes of columns. Raises TypeNotSupported for columns without one."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._decode = _message_decoder(message_of_columns(payload.columns), _declared(payload))

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        return read_each(self._payload, payloads, self._decode)


def _declared(payload: Payload) -> SqlType:
    if not payload.wrapped:
        raise TypeNotSupported(
            f"single values in {payload.format} that are not wrapped cannot be read", "export this feed by REST"
        )
    return SqlType("STRUCT", fields=payload.columns)


class _RegisteredMessages:
    """Decodes the messages of one schema, by the index paths of their types."""

    def __init__(self, registry: RegistryClient, number: int, declared: SqlType) -> None:
        self._declared = declared
        self._decoders: dict[tuple[int, ...], Decode] = {}
        try:
            self._file = registered_file(registry.schema(number, "serialized"))
        except (ValueError, TypeError, DecodeError):
            self._file = None

    def decode(self, encoded: bytes) -> Any:
        places, start = _places(encoded)
        if places not in self._decoders:
            self._decoders[places] = _message_decoder(self._message(places), self._declared)
        return self._decoders[places](encoded[start:])

    def _message(self, places: tuple[int, ...]) -> Any:
        if self._file is None:
            raise Uncertain("a schema that is none of Protobuf, or that of a bare value")
        types = list(self._file.message_types_by_name.values())
        for depth, place in enumerate(places):
            if depth and any(each.GetOptions().map_entry for each in types):
                raise Uncertain("a type inside one with a map, so that its place is not certain")
            if not 0 <= place < len(types):
                raise Unreadable("a type that its schema does not have")
            found = types[place]
            types = list(found.nested_types)
        return found


def _places(encoded: bytes) -> tuple[tuple[int, ...], int]:
    """The index path of a message's type, and where the message begins."""
    count, at = _signed_varint(encoded, 0)
    if count == 0:
        return (0,), at
    places = []
    for _ in range(count):
        place, at = _signed_varint(encoded, at)
        places.append(place)
    if not places:
        raise Unreadable(_BROKEN)
    return tuple(places), at


def _signed_varint(encoded: bytes, start: int) -> tuple[int, int]:
    value = 0
    for length, byte in enumerate(encoded[start : start + 5]):
        value |= (byte & 0x7F) << 7 * length
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), start + length + 1
    raise Unreadable(_BROKEN)


def _message_decoder(message: Any, declared: SqlType) -> Decode:
    new = message_factory.GetMessageClass(message)
    convert = translation(_Types().of_message(message), declared)

    def decode(encoded: bytes) -> Any:
        read = new()
        try:
            read.ParseFromString(encoded)
        except DecodeError:
            raise Unreadable(_BROKEN) from None
        if not read.IsInitialized():
            raise Unreadable(_BROKEN)
        return convert(read)

    return decode


class _Types:
    """Message types as Connect's. A message may contain itself, so its fields are examined only when needed."""

    def of_message(self, message: Any) -> ConnectType:
        return ConnectType("STRUCT", fields=lambda: self._fields(message))

    def _fields(self, message: Any) -> Iterator[ConnectField]:
        for place, choice in enumerate(message.oneofs):
            if not _is_optional(choice.fields[0]):
                fields = tuple(
                    ConnectField(field.name, self._of_field(field), _chosen(choice.name, field.name))
                    for field in choice.fields
                )
                union = ConnectType("STRUCT", fields=lambda fields=fields: fields)  # type: ignore[misc] # this one's
                yield ConnectField(f"{choice.name}_{place}", union, _with_choice(choice.name))
        for field in message.fields:
            if field.containing_oneof is None or _is_optional(field):
                yield ConnectField(field.name, self._of_field(field), _getter(field))

    def _of_field(self, field: Any) -> ConnectType:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            parts = {part.name: self._of_field(part) for part in field.message_type.fields}
            return ConnectType("MAP", lambda entries: entries.items(), key=parts["key"], element=parts["value"])
        single = self._of_single(field)
        return ConnectType("ARRAY", element=single) if field.is_repeated else single

    def _of_single(self, field: Any) -> ConnectType:
        if field.type == _F.TYPE_MESSAGE:
            known = _KNOWN.get(field.message_type.full_name)
            return ConnectType(*known) if known else self.of_message(field.message_type)
        if field.type == _F.TYPE_ENUM:
            names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
            return ConnectType("STRING", lambda number: _enum_name(names, number))
        kind = _KINDS.get(field.type, "a type of no known kind")
        if kind == "INT32":
            narrow = field.GetOptions().Extensions[_FIELD_META].params.get("connect.type")
            if narrow in ("int8", "int16"):
                bits = int(narrow.removeprefix("int"))
                return ConnectType(narrow.upper(), lambda value: narrowed(value, bits))
        if field.type in (_F.TYPE_UINT64, _F.TYPE_FIXED64):
            return ConnectType(kind, lambda value: narrowed(value, 64))
        return ConnectType(kind)


_KINDS: Mapping[Any, str] = {
    _F.TYPE_INT32: "INT32", _F.TYPE_SINT32: "INT32", _F.TYPE_SFIXED32: "INT32", _F.TYPE_UINT32: "INT64",
    _F.TYPE_FIXED32: "INT64", _F.TYPE_INT64: "INT64", _F.TYPE_SINT64: "INT64", _F.TYPE_SFIXED64: "INT64",
    _F.TYPE_UINT64: "INT64", _F.TYPE_FIXED64: "INT64", _F.TYPE_FLOAT: "FLOAT32", _F.TYPE_DOUBLE: "FLOAT64",
    _F.TYPE_BOOL: "BOOLEAN", _F.TYPE_STRING: "STRING", _F.TYPE_BYTES: "BYTES",
}  # fmt: skip


def _is_optional(field: Any) -> bool:
    """Whether the field is `optional` in proto3."""
    message = descriptor_pb2.DescriptorProto()
    field.containing_type.CopyToProto(message)
    return any(one.proto3_optional for one in message.field if one.number == field.number)


def _getter(field: Any) -> Convert:
    name = field.name
    if field.is_repeated or not field.has_presence:
        return lambda message: getattr(message, name)
    if field.type == _F.TYPE_MESSAGE or _is_optional(field):
        return lambda message: getattr(message, name) if message.HasField(name) else None

    def get(message: Any) -> Any:
        if not message.HasField(name):
            raise Uncertain("a field of proto2 that is not set")
        return getattr(message, name)

    return get


def _with_choice(choice: str) -> Convert:
    return lambda message: message if message.WhichOneof(choice) else None


def _chosen(choice: str, name: str) -> Convert:
    return lambda message: getattr(message, name) if message.WhichOneof(choice) == name else None


def _enum_name(names: Mapping[int, str], number: int) -> str:
    if number not in names:
        raise Uncertain("a number that its enum does not have")
    return names[number]


def _decimal(message: Any) -> Decimal:
    if not message.value:
        raise Unreadable("a decimal without a byte")
    unscaled = Decimal(int.from_bytes(message.value, "big", signed=True))
    if 0 < message.precision < len(unscaled.as_tuple().digits):
        raise Unreadable("a decimal with more digits than its precision")
    return unscaled.scaleb(-message.scale, _EXACT)


def _date(message: Any) -> int:
    try:
        date = dt.date(message.year, message.month, message.day)
    except (ValueError, OverflowError):
        raise Unreadable("a date that is none") from None
    if date.year < _FIRST_SURE_YEAR:
        raise Uncertain(f"a date before {_FIRST_SURE_YEAR}, whose calendar is not certain")
    return date.toordinal() - _EPOCH_DAY


def _time(message: Any) -> int:
    hours, minutes, seconds, nanos = message.hours, message.minutes, message.seconds, message.nanos
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60 and 0 <= nanos < 1_000_000_000):
        raise Unreadable("a time of day that is none")
    return int(((hours * 60 + minutes) * 60 + seconds) * 1000 + nanos // 1_000_000)


def _timestamp(message: Any) -> int:
    if not (_FIRST_SECOND <= message.seconds <= _LAST_SECOND and 0 <= message.nanos < 1_000_000_000):
        raise Unreadable("a timestamp that is out of the range of Protobuf's")
    return int(message.seconds * 1000 + message.nanos // 1_000_000)


_KNOWN: Mapping[str, tuple[str, Convert]] = {
    "confluent.type.Decimal": ("DECIMAL", _decimal),
    "google.type.Date": ("INT32", _date),
    "google.type.TimeOfDay": ("INT32", _time),
    "google.protobuf.Timestamp": ("INT64", _timestamp),
}
