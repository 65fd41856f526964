"""Rows of a snapshot on their way into MySQL: converted exactly, checked against the target, hashed.

A value that would be cut, rounded or refused makes its row a reject with the reason; nothing is changed in silence.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.schema import TargetColumn

_INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_FIRST_YEAR = 1000  # MySQL's DATE and DATETIME begin there
_TIMESTAMPS = (dt.datetime(1970, 1, 1), dt.datetime(2038, 1, 19))  # its TIMESTAMP lies between


class Misfit(ValueError):
    """Why a value does not fit its column."""


@dataclass(frozen=True)
class Reject:
    """A row that does not fit: its natural key and the whole row as JSON."""

    row_key: str
    column: str
    reason: str
    row_json: str


@dataclass(frozen=True)
class StagedColumn:
    """A staging column: what it is called there, which lake column fills it, and where it goes in the end."""

    name: str
    source: str
    target: TargetColumn
    is_key: bool


def convert_batch(
    batch: pa.RecordBatch, columns: Sequence[StagedColumn], mapping: WarehouseMapping
) -> Iterator[tuple[Any, ...] | Reject]:
    """Each row as values for the staging columns, or as a reject."""
    sources = {column.source for column in columns}
    values = {name: batch.column(name).to_pylist(maps_as_pydicts="strict") for name in sources}
    for index in range(batch.num_rows):
        row = []
        for column in columns:
            try:
                row.append(_checked(values[column.source][index], column))
            except Misfit as misfit:
                yield _reject(batch, index, mapping, column.target.name, str(misfit))
                break
        else:
            yield tuple(row)


def _reject(batch: pa.RecordBatch, index: int, mapping: WarehouseMapping, column: str, reason: str) -> Reject:
    whole = {name: batch.column(name)[index].as_py(maps_as_pydicts="strict") for name in batch.schema.names}
    key = {name: whole.get(mapping.columns[name]) for name in mapping.keys}
    return Reject(to_json(key), column, reason, to_json(whole))


def _checked(value: Any, column: StagedColumn) -> Any:
    target = column.target
    if value is None:
        if column.is_key or not target.nullable:
            raise Misfit("is NULL")
        return None
    kind = target.data_type
    if kind in _INTEGERS:
        return _integer(value, target)
    converted = _CONVERT[kind](value, target)
    if column.is_key and isinstance(converted, str) and converted.endswith(" "):
        raise Misfit("ends with a space, which MySQL does not see when it compares keys")
    return converted


def _integer(value: Any, target: TargetColumn) -> int:
    if not isinstance(value, bool | int):
        raise Misfit("is not a whole number")
    bits, unsigned = _INTEGERS[target.data_type], "unsigned" in target.column_type
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= value <= high:
        raise Misfit(f"{value} is out of the range of {target.column_type}")
    return int(value)


def _decimal(value: Any, target: TargetColumn) -> Decimal:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Misfit(f"{value} is not a number that DECIMAL can hold")
        value = repr(value)
    elif not isinstance(value, Decimal | int):
        raise Misfit("is not a number")
    number = Decimal(value)
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    whole = len(digits) + exponent if any(digits) else 0
    too_fine = -exponent - target.scale
    if too_fine > 0 and any(digits[-too_fine:]):
        raise Misfit(f"{number} would be rounded to {target.scale} places")
    if whole > target.precision - target.scale:
        raise Misfit(f"{number} is out of the range of {target.column_type}")
    return number


def _double(value: Any, _: TargetColumn) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise Misfit(f"{value} is not a number that MySQL can hold")
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise Misfit("is not a number")
    if float(value) != value:
        raise Misfit(f"{value} would be rounded by DOUBLE")
    return float(value)


def _float(value: Any, target: TargetColumn) -> float:
    number = _double(value, target)
    if abs(number) > 3.4e38 or struct.unpack("f", struct.pack("f", number))[0] != number:
        raise Misfit(f"{value} would be rounded by FLOAT")
    return number


def _text(value: Any, target: TargetColumn) -> str:
    if isinstance(value, bytes):
        raise Misfit("is binary")
    text = to_json(value) if isinstance(value, list | dict | tuple) else str(value)
    size = len(text.encode()) if target.data_type.endswith("text") else len(text)
    if size > target.length:
        raise Misfit(f"has {size} characters, {target.column_type} holds {target.length}")
    return text


def _bytes(value: Any, target: TargetColumn) -> bytes:
    if not isinstance(value, bytes):
        raise Misfit("is not binary")
    if len(value) > target.length:
        raise Misfit(f"has {len(value)} bytes, {target.column_type} holds {target.length}")
    return value


def _date(value: Any, _: TargetColumn) -> dt.date:
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise Misfit("is not a date")
    if value.year < _FIRST_YEAR:
        raise Misfit(f"{value} is before the year {_FIRST_YEAR}, where MySQL's dates begin")
    return value


def _datetime(value: Any, target: TargetColumn) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise Misfit("is not a point in time")
    if value.year < _FIRST_YEAR:
        raise Misfit(f"{value} is before the year {_FIRST_YEAR}, where MySQL's dates begin")
    if value.microsecond % 10 ** (6 - target.scale):
        raise Misfit(f"{value} would be rounded to {target.scale} places of a second")
    return value.astimezone(dt.UTC).replace(tzinfo=None)


def _timestamp(value: Any, target: TargetColumn) -> dt.datetime:
    moment = _datetime(value, target)
    if not _TIMESTAMPS[0] < moment < _TIMESTAMPS[1]:
        raise Misfit(f"{value} is outside of what TIMESTAMP holds; a DATETIME column keeps it")
    return moment


def _time(value: Any, target: TargetColumn) -> str:
    if len(str(value).partition(".")[2].rstrip("0")) > target.scale:
        raise Misfit(f"{value} would be rounded to {target.scale} places of a second")
    return str(value)


def _json(value: Any, target: TargetColumn) -> str:
    if target.column_type == "json":
        for number in _decimals(value):
            if Decimal(repr(float(number))) != number:
                raise Misfit(f"{number:f} would be rounded in MySQL's JSON; a LONGTEXT column keeps it")
    return to_json(value)


def _decimals(value: Any) -> Iterator[Decimal]:
    """The fractions anywhere inside a value; MySQL (8.0 to 9.7) keeps those of JSON as DOUBLE."""
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _decimals(item)


_CONVERT: dict[str, Callable[[Any, TargetColumn], Any]] = {
    "decimal": _decimal,
    "double": _double,
    "float": _float,
    "char": _text,
    "varchar": _text,
    "tinytext": _text,
    "text": _text,
    "mediumtext": _text,
    "longtext": _text,
    "json": _json,
    "binary": _bytes,
    "varbinary": _bytes,
    "tinyblob": _bytes,
    "blob": _bytes,
    "mediumblob": _bytes,
    "longblob": _bytes,
    "date": _date,
    "datetime": _datetime,
    "timestamp": _timestamp,
    "time": _time,
}
FILLABLE = {*_INTEGERS, *_CONVERT}
"""The column types that a fact or a dimension can have."""


def to_json(value: Any) -> str:
    """JSON text of a lake value: decimals as numbers with all digits, times in RFC 3339, bytes in hexadecimal."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_json(str(key))}: {to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(to_json(item) for item in value) + "]"
    if isinstance(value, dt.datetime):
        return json.dumps(value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"))
    if isinstance(value, dt.date):
        return json.dumps(value.isoformat())
    if isinstance(value, bytes):
        return json.dumps(value.hex())
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(str(value))
    return json.dumps(value, ensure_ascii=False)
