"""Messages of Protobuf byte by byte, as its wire format has them; no library is asked."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any

from ksqldb_emulator.sqltypes import Type
from tests.kafka.formats.encoding import avro_value


def varint(value: int) -> bytes:
    """Of 64 bits, as a negative number has them too."""
    value %= 1 << 64
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def piece(tag: int, content: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(content)) + content


def message(fields: dict[str, Type], values: dict[str, Any]) -> bytes:
    """As ksqlDB writes it: no NULL, and nothing of what is the default."""
    return b"".join(field(tag, values[name], type_) for tag, (name, type_) in enumerate(fields.items(), 1))


def field(tag: int, value: Any, type_: Type) -> bytes:
    if value is None:
        return b""
    base = type_.base
    if base == "ARRAY":
        if type_.element.base in ("BOOLEAN", "INTEGER", "BIGINT", "DOUBLE"):  # packed
            return piece(tag, b"".join(_bare(item, type_.element.base) for item in value))
        return b"".join(field(tag, item, type_.element) for item in value)
    if base == "MAP":
        return b"".join(
            piece(tag, field(1, key, type_.key) + field(2, item, type_.element)) for key, item in value.items()
        )
    if base in ("BOOLEAN", "INTEGER", "BIGINT"):
        return number(tag, int(value))
    if base == "DOUBLE":
        return varint(tag << 3 | 1) + struct.pack("<d", value)
    return piece(tag, _content(value, type_))


def _bare(value: Any, base: str) -> bytes:
    return struct.pack("<d", value) if base == "DOUBLE" else varint(int(value))


def _content(value: Any, type_: Type) -> bytes:
    if type_.base == "STRUCT":
        return message(dict(type_.fields), value)
    if type_.base == "STRING":
        return bytes(value.encode())
    if type_.base == "DECIMAL":
        digits = len(Decimal(value).as_tuple().digits)
        return piece(1, avro_value(value, type_)) + number(2, max(digits, type_.precision)) + number(3, type_.scale)
    if type_.base == "DATE":
        date = dt.date.fromordinal(dt.date(1970, 1, 1).toordinal() + value)
        return number(1, date.year) + number(2, date.month) + number(3, date.day)
    if type_.base == "TIME":
        seconds, ms = divmod(value, 1000)
        return (
            number(1, seconds // 3600) + number(2, seconds // 60 % 60) + number(3, seconds % 60) + number(4, ms * 10**6)
        )
    if type_.base == "TIMESTAMP":
        return number(1, value // 1000) + number(2, value % 1000 * 10**6)
    return bytes(value)


def as_protobuf_shows(value: Any, type_: Type) -> Any:
    """The value that ksqlDB reads back: what is NULL and no message is its default."""
    if type_.base == "STRUCT" and value is not None:
        return {name: as_protobuf_shows(value[name], inner) for name, inner in type_.fields}
    if type_.base == "ARRAY":
        return [as_protobuf_shows(item, type_.element) for item in value or ()]
    if type_.base == "MAP":
        return {key: as_protobuf_shows(item, type_.element) for key, item in (value or {}).items()}
    return _DEFAULTS.get(type_.base) if value is None else value


_DEFAULTS = {"BOOLEAN": False, "INTEGER": 0, "BIGINT": 0, "DOUBLE": 0.0, "STRING": "", "BYTES": b""}
