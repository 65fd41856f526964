"""AVRO: records are read by the schema that they were written with, from the registry.

Facts, from Confluent's AvroConverter and AvroData (7.x and 8.x; ksqlDB sets `connect.meta.data` to false):
- Only the writer's schema counts; no reader's schema fills in fields. Bytes after a record are ignored.
- A union with null is an optional value of its other type. ksqlDB makes a STRUCT of other unions; they are refused
  here where they are declared.
- `decimal`, `date`, `time-millis` and `timestamp-millis` are logical types, by `logicalType` or by `connect.name`;
  others, such as `timestamp-micros`, are ignored. Enums are text, `connect.type` says int8 or int16.
- A MAP is Avro's map, or an array of records with a key and a value that are marked as map entries, which is how ksqlDB
  writes maps. `connect.default` replaces NULL in an optional field.
- ksqlDB replaces a dot in a name by an underscore.
Encoded values are decoded by fastavro. It reads a negative index of a union or an enum as an index from the end, which
in Java is an error.
"""

from __future__ import annotations

import decimal
import io
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from operator import itemgetter
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from pipeline.columns import SqlType
from pipeline.kafka.formats.connect import UNION, ConnectField, ConnectType, Convert, translation
from pipeline.kafka.formats.java import narrowed
from pipeline.kafka.formats.payload import Payload, Uncertain, Unreadable
from pipeline.kafka.formats.registered import Decode, RegisteredDeserializer
from pipeline.kafka.registry import RegisteredSchema, RegistryClient

_BROKEN = (
    EOFError,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)
_CONNECT = "org.apache.kafka.connect.data."
_LOGICAL = {
    "int": {"date": "Date", "time-millis": "Time"},
    "long": {"timestamp-millis": "Timestamp"},
    "bytes": {"decimal": "Decimal"},
    "fixed": {"decimal": "Decimal"},
}
_KEPT = "logical"
"""The name that `logicalType` gets for fastavro, so that it does not convert the encoded values."""
_MOST_TIME_MS = 86_400_000
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_NARROW = {"int8": ("INT8", 8), "int16": ("INT16", 16)}
_KINDS = {"string": "STRING", "enum": "STRING", "boolean": "BOOLEAN", "double": "FLOAT64", "float": "FLOAT32",
          "bytes": "BYTES", "fixed": "BYTES", "long": "INT64", "int": "INT32"}  # fmt: skip


def avro_deserializer(payload: Payload, registry: RegistryClient) -> RegisteredDeserializer:
    declared = SqlType("STRUCT", fields=payload.columns) if payload.wrapped else payload.columns[0][1]
    return RegisteredDeserializer(payload, lambda number: _decoder(registry.schema(number), _without_dots(declared)))


def _without_dots(type_: SqlType) -> SqlType:
    """The type with field names as ksqlDB looks for them."""
    element = type_.element and _without_dots(type_.element)
    fields = tuple((name.replace(".", "_"), _without_dots(inner)) for name, inner in type_.fields)
    return SqlType(type_.base, type_.precision, type_.scale, type_.key, element, fields)


def _decoder(schema: RegisteredSchema, declared: SqlType) -> Decode:
    try:
        parsed, named = _parsed(schema)
        connect = _Schemas(named).type_of(parsed)
    except (ValueError, KeyError, TypeError, AttributeError, SchemaParseException, UnknownType):
        connect = None
    if connect is None:
        return _always("a schema that is none of Avro that ksqlDB reads")
    convert = translation(connect, declared)
    if _name_of(parsed) == "bytes":  # bare bytes have no length before them
        return convert

    def decode(encoded: bytes) -> Any:
        try:
            raw = fastavro.schemaless_reader(io.BytesIO(encoded), parsed, None)
        except UnicodeDecodeError:  # Java puts another character in the place of what is none
            raise Uncertain("a text that is not UTF-8") from None
        except _BROKEN:
            raise Unreadable("no Avro of its schema") from None
        return convert(raw)

    return decode


def _always(reason: str) -> Decode:
    def refuse(_encoded: bytes) -> Any:
        raise Uncertain(reason)

    return refuse


def _parsed(schema: RegisteredSchema) -> tuple[Any, dict[str, Any]]:
    """The schema without logical types, and all types with a name that are in it or in what it refers to."""
    named: dict[str, Any] = {}

    def parse(one: RegisteredSchema) -> Any:
        for reference in one.references:
            parse(reference.schema)
        return fastavro.parse_schema(_renamed(json.loads(one.text)), named_schemas=named)

    return parse(schema), named


def _renamed(node: Any) -> Any:
    if isinstance(node, list):
        return [_renamed(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {_KEPT if name == "logicalType" else name: _renamed(part) for name, part in node.items()}


def _name_of(node: Any) -> str:
    return str(node["type"] if isinstance(node, dict) else node)


class _Schemas:
    """Avro's types as Connect's. Raises ValueError for a type without counterpart in Connect, anywhere in a schema."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._records: dict[str, tuple[ConnectField, ...]] = {}

    def type_of(self, node: Any) -> ConnectType:
        if isinstance(node, list):
            others = [part for part in node if _name_of(part) != "null"]
            if len(node) == 2 and len(others) == 1:
                return self.type_of(others[0])
            for part in others:
                self.type_of(part)
            return ConnectType(UNION)
        if isinstance(node, str) and node in self._named:
            node = self._named[node]
        attributes = node if isinstance(node, dict) else {}
        name = _name_of(node)
        if isinstance(attributes.get("type"), dict | list):
            return self.type_of(node["type"])
        if name == "array":
            return self._array(node["items"])
        if name == "map":
            values = _refusing(node["values"], dict.values, dict.items)
            return ConnectType("MAP", values, key=ConnectType("STRING"), element=self.type_of(node["values"]))
        if name in ("record", "error"):
            return self._record(node)
        return _scalar(name, attributes)

    def _array(self, items: Any) -> ConnectType:
        entry = self._named.get(items) if isinstance(items, str) else items
        if not isinstance(entry, dict) or not _is_map_entry(entry):
            return ConnectType("ARRAY", _refusing(items, list, list), element=self.type_of(items))
        types = {field["name"]: field["type"] for field in entry["fields"]}
        if set(types) != {"key", "value"}:
            raise ValueError("entries of a map that have other fields")
        value, pair = itemgetter("value"), itemgetter("key", "value")
        read = _refusing(types["value"], lambda entries: map(value, entries), lambda entries: map(pair, entries))
        return ConnectType("MAP", read, key=self.type_of(types["key"]), element=self.type_of(types["value"]))

    def _record(self, node: Mapping[str, Any]) -> ConnectType:
        name = node["name"]
        if name not in self._records:
            self._records[name] = ()  # so that a record may contain itself
            self._records[name] = tuple(self._field(field) for field in node["fields"])
        return ConnectType("STRUCT", fields=lambda: self._records[name])

    def _field(self, field: Mapping[str, Any]) -> ConnectField:
        name, type_ = field["name"], self.type_of(field["type"])
        default = _default_of(field["type"])
        if default is None:
            return ConnectField(name, type_, itemgetter(name))

        def get(record: Mapping[str, Any]) -> Any:
            value = record[name]
            if value is not None:
                return value
            if default == _NOT_READ or type(default) not in _DEFAULTS.get(type_.kind, ()):
                raise Uncertain(_DEFAULTED)
            return default

        return ConnectField(name, type_, get)


_DEFAULTED = "a NULL for which the schema has a default that is not read"
_NOT_READ: Mapping[str, Any] = {}
_DEFAULTS = {"STRING": (str,), "BOOLEAN": (bool,), "FLOAT64": (float,), "INT32": (int,), "INT64": (int,)}


def _default_of(node: Any) -> Any:
    """Connect's value for NULL in an optional field; for logical types it depends on Connect's version."""
    for part in node if isinstance(node, list) else ():
        if isinstance(part, dict) and part.get("connect.default") is not None:
            return _NOT_READ if _logical(_name_of(part), part) else part["connect.default"]
    return None


def _refusing(node: Any, values: Callable[[Any], Iterable[Any]], read: Convert) -> Convert:
    """`read`, unless its `values`, which are of the type `node`, have a NULL in whose place there is a default."""
    if _default_of(node) is None:
        return read

    def check(raw: Any) -> Any:
        if any(value is None for value in values(raw)):
            raise Uncertain(_DEFAULTED)
        return read(raw)

    return check


def _is_map_entry(entry: Mapping[str, Any]) -> bool:
    return entry.get("type") == "record" and (
        entry["name"] == "io.confluent.connect.avro.MapEntry" or entry.get("connect.internal.type") == "MapEntry"
    )


def _scalar(name: str, attributes: Mapping[str, Any]) -> ConnectType:
    logical = _logical(name, attributes)
    if logical == "Decimal":
        scale = attributes.get("scale", 0)
        if attributes.get(_KEPT, "").lower() != "decimal" or not isinstance(scale, int):
            raise ValueError("a decimal without its scale")
        return ConnectType("DECIMAL", lambda raw: _decimal(raw, scale))
    kind = _KINDS[name]
    if name == "int":
        narrow = attributes.get("connect.type")
        if narrow is not None and _KEPT not in attributes:
            kind, bits = _NARROW[narrow]
            return ConnectType(kind, lambda raw: narrowed(_int(raw), bits))
        return ConnectType(kind, _time if logical == "Time" else _int)
    return ConnectType(kind)


def _logical(name: str, attributes: Mapping[str, Any]) -> str:
    """Connect's logical type, by the schema's `logicalType` or its `connect.name`."""
    own = _LOGICAL.get(name, {}).get(str(attributes.get(_KEPT, "")).lower(), "")
    given = str(attributes.get("connect.name") or "")
    if own and given and given != _CONNECT + own:
        raise ValueError("two names for one type")
    return own or given.removeprefix(_CONNECT) if given.startswith(_CONNECT) or own else ""


def _int(raw: int) -> int:
    if not -(2**31) <= raw < 2**31:
        raise Unreadable("no Avro of its schema")
    return raw


def _time(raw: int) -> int:
    if not 0 <= raw <= _MOST_TIME_MS:
        raise Unreadable("a number that is no time of day")
    return raw


def _decimal(raw: bytes, scale: int) -> Decimal:
    if not raw:
        raise Unreadable("a decimal without a byte")
    return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-scale, _EXACT)
