"""Values and rows as exact text: equal values have equal text, different values have different text.

The text is what MySQL's LOAD DATA reads by default: tabs between columns, backslash escapes, \\N for NULL. So the bytes
that prove that two places hold the same rows are the bytes that are sent to the warehouse.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_PLAIN = {escaped: plain for plain, escaped in _ESCAPES.items()}
_UNESCAPE = re.compile(r"\\.", re.DOTALL)
_EPOCH = dt.datetime(1970, 1, 1)
_DAY_US = 86_400_000_000
_CYCLE_DAYS = 146_097  # the Gregorian calendar repeats after 400 years


class FarMoment(str):
    """A date or an instant outside of Python's years 1 to 9999, as ISO 8601 text with a sign."""

    __slots__ = ()


def texts_of(array: pa.Array) -> pa.Array:
    """A column as text, before escaping: numbers with all their digits, booleans as 1 and 0, bytes in hexadecimal,
    instants in UTC without a zone, nested values as JSON.

    Exact: two values of one type have the same text only if they are the same.
    """  # fmt: skip
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8()).cast(pa.string())
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp(kind.unit)).cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_nested(kind):
        text = bytes.hex if pa.types.is_binary(kind) else to_json
        return pa.array([None if value is None else text(value) for value in values_of(array)], pa.string())
    return array.cast(pa.string())


def values_of(array: pa.Array) -> list[Any]:
    """A column's Python values: maps as dicts, what Python's dates cannot hold as FarMoment.

    A map with keys that Python takes for the same, 0.0 and -0.0, has their texts as keys instead.
    """
    try:
        return list(array.to_pylist(maps_as_pydicts="strict"))
    except (OverflowError, KeyError, ValueError):  # ValueError for such maps inside a STRUCT
        return _one_by_one(array)


def _one_by_one(array: pa.Array) -> list[Any]:
    kind, valid = array.type, array.is_valid().to_pylist()
    if pa.types.is_date32(kind):
        return [None if day is None else _moment(day * _DAY_US, True) for day in array.view(pa.int32()).to_pylist()]
    if pa.types.is_timestamp(kind):
        moments = array.cast(pa.timestamp("us", kind.tz)).view(pa.int64()).to_pylist()
        return [None if moment is None else _moment(moment, False) for moment in moments]
    if pa.types.is_struct(kind):
        parts = {field.name: values_of(array.field(place)) for place, field in enumerate(kind)}
        return [{name: part[row] for name, part in parts.items()} if ok else None for row, ok in enumerate(valid)]
    if pa.types.is_map(kind):
        keys, items, ends = values_of(array.keys), values_of(array.items), array.offsets.to_pylist()
        return [
            _map_of(keys[ends[row] : ends[row + 1]], items[ends[row] : ends[row + 1]]) if ok else None
            for row, ok in enumerate(valid)
        ]
    if pa.types.is_list(kind):
        items, ends = values_of(array.values), array.offsets.to_pylist()
        return [items[ends[row] : ends[row + 1]] if ok else None for row, ok in enumerate(valid)]
    return list(array.to_pylist())


def _map_of(keys: Sequence[Any], items: Sequence[Any]) -> dict[Any, Any]:
    found = dict(zip(keys, items, strict=True))
    return found if len(found) == len(keys) else dict(zip(map(to_json, keys), items, strict=True))


def _moment(epoch_us: int, is_date: bool) -> dt.date | FarMoment:
    cycles, rest = divmod(epoch_us, _CYCLE_DAYS * _DAY_US)
    near = _EPOCH + dt.timedelta(microseconds=rest)
    year = near.year + 400 * cycles
    if dt.MINYEAR <= year <= dt.MAXYEAR:
        near = near.replace(year=year, tzinfo=dt.UTC)
        return near.date() if is_date else near
    text = near.date().isoformat() if is_date else f"{near.isoformat()}Z"
    return FarMoment(f"{year:+05}{text[4:]}")


def lines_of(texts: Sequence[pa.Array]) -> pa.Array:
    """Rows of texts as lines, each with its newline; at least one column."""
    *fields, last = [_escaped(column).fill_null("\\N") for column in texts]
    ended = pc.binary_join_element_wise(last, "", "\n")
    return pc.binary_join_element_wise(*fields, ended, "\t") if fields else ended


def texts_in(line: str) -> list[str | None]:
    """The texts of one line: the inverse of `lines_of`."""
    return [None if field == "\\N" else _UNESCAPE.sub(_plain, field) for field in line[:-1].split("\t")]


def _plain(match: re.Match[str]) -> str:
    return _PLAIN[match[0]]


def bytes_of(lines: pa.Array) -> memoryview:
    """All lines, one after the other, without a copy."""
    if len(lines) == 0 or lines.buffers()[2] is None:
        return memoryview(b"")
    offsets = memoryview(lines.buffers()[1]).cast("i")
    return memoryview(lines.buffers()[2])[offsets[lines.offset] : offsets[lines.offset + len(lines)]]


def _escaped(column: pa.Array) -> pa.Array:
    text = bytes(bytes_of(column))
    if not any(plain.encode() in text for plain in _ESCAPES):
        return column
    for plain, escaped in _ESCAPES.items():
        column = pc.replace_substring(column, plain, escaped)
    return column


def to_json(value: Any) -> str:
    """JSON text of a lake value: decimals as numbers with all digits, bytes in hexadecimal, times in RFC 3339, far ones
    and those without a zone in ISO 8601; a key that is no text as the text of its JSON. Keys are sorted: a map has no
    order. Other values, which the lake does not have, as Python's text.
    """  # fmt: skip
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{_key(key)}: {to_json(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(to_json(item) for item in value) + "]"
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return json.dumps(value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"))
    if isinstance(value, dt.date | dt.time):
        return json.dumps(value.isoformat())
    if isinstance(value, bytes):
        return json.dumps(value.hex())
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(str(value))
    return json.dumps(value, ensure_ascii=False, default=str)


def _key(key: Any) -> str:
    text = to_json(key)
    return text if text.startswith('"') else f'"{text}"'
