"""Rows of a snapshot on their way into MySQL: checked against the target, exactly.

A value that would be cut, rounded or refused makes its row a reject with the reason; nothing is changed in silence.
Whole columns are checked at once where that is enough to say that every value fits; else value by value.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.exact_text import FarMoment, texts_of, to_json, values_of
from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.target import TargetColumn

_INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_FIRST_DATE, _LAST_DATE = dt.date(1000, 1, 1), dt.date(9999, 12, 31)  # of MySQL's DATE and DATETIME
_EPOCH = dt.date(1970, 1, 1)
_DAY_US = 86_400_000_000
_TIMESTAMPS = (dt.datetime(1970, 1, 1), dt.datetime(2038, 1, 19))  # its TIMESTAMP lies between
_DOUBLE_DIGITS = 2**53
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?")


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
class MappedColumn:
    """A staging column: what it is called there, which lake column fills it, and where it goes in the end."""

    name: str
    source: str
    target: TargetColumn
    is_key: bool


def split_rejects(
    batch: pa.RecordBatch, columns: Sequence[MappedColumn], mapping: WarehouseMapping
) -> tuple[pa.RecordBatch, list[Reject]]:
    """The rows that fit all columns, and the others as rejects."""
    misfits: dict[int, tuple[str, str]] = {}
    for column in columns:
        array = batch.column(column.source)
        if column.target.is_text and not pa.types.is_binary(array.type):
            array = texts_of(array)
        if not _all_fit(array, column):
            for index, reason in _misfits(array, column):
                misfits.setdefault(index, (column.target.name, reason))
    if not misfits:
        return batch, []
    fits = np.ones(batch.num_rows, np.bool_)
    fits[list(misfits)] = False
    rejects = [as_reject(batch, index, mapping, *misfits[index]) for index in sorted(misfits)]
    return batch.filter(pa.array(fits)), rejects


def as_reject(batch: pa.RecordBatch, index: int, mapping: WarehouseMapping, column: str, reason: str) -> Reject:
    """One row of a batch as a reject."""
    whole = {name: values_of(batch.column(name).slice(index, 1))[0] for name in batch.schema.names}
    key = {name: whole.get(mapping.columns[name]) for name in mapping.keys}
    return Reject(to_json(key), column, reason, to_json(whole))


def texts_to_send(batch: pa.RecordBatch, columns: Sequence[MappedColumn]) -> list[pa.Array]:
    """The columns of rows that fit, as text that the server takes for them."""
    return [_text_to_send(batch.column(column.source), column.target) for column in columns]


def _text_to_send(array: pa.Array, target: TargetColumn) -> pa.Array:
    if target.data_type != "json" or pa.types.is_nested(array.type):
        return texts_of(array)
    return pa.array([None if value is None else to_json(value) for value in values_of(array)], pa.string())


def _misfits(array: pa.Array, column: MappedColumn) -> Iterator[tuple[int, str]]:
    for index, value in enumerate(values_of(array)):
        try:
            _check(value, column)
        except Misfit as misfit:
            yield index, str(misfit)


def _all_fit(array: pa.Array, column: MappedColumn) -> bool:
    """Whether every value fits for certain; a False only says that each has to be looked at."""
    target, kind = column.target, array.type
    if array.null_count and (column.is_key or not target.nullable):
        return False
    if array.null_count == len(array):
        return True
    if target.data_type in _INTEGERS:
        low, high = _integer_range(target)
        return pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and _all_between(array, low, high))
    if target.data_type == "decimal":
        return _all_decimals_fit(array, target)
    if target.data_type == "double":
        if pa.types.is_floating(kind):
            return bool(pc.all(pc.is_finite(array)).as_py())
        return pa.types.is_integer(kind) and _all_between(array, -_DOUBLE_DIGITS, _DOUBLE_DIGITS)
    if target.is_text:
        if not pa.types.is_string(kind) or (_cuts_spaces(column) and pc.any(pc.ends_with(array, " ")).as_py()):
            return False
        size = pc.binary_length(array) if target.data_type.endswith("text") else pc.utf8_length(array)
        return bool(pc.max(size).as_py() <= target.length)
    if target.is_binary and target.data_type != "binary":
        return pa.types.is_binary(kind) and bool(pc.max(pc.binary_length(array)).as_py() <= target.length)
    if target.data_type == "date":
        return pa.types.is_date32(kind) and _all_between(array.view(pa.int32()), *_days_of_mysql())
    if target.data_type == "datetime" and pa.types.is_timestamp(kind) and kind.unit == "us":
        step, numbers, (first, last) = 10 ** (6 - target.scale), array.view(pa.int64()), _days_of_mysql()
        exact = not (numbers.fill_null(0).to_numpy(zero_copy_only=False) % step).any()
        return exact and _all_between(numbers, first * _DAY_US, (last + 1) * _DAY_US - 1)
    if target.data_type == "json":
        return bool(pa.types.is_string(kind))
    return False


def _all_between(array: pa.Array, low: int, high: int) -> bool:
    ends = pc.min_max(array).as_py()
    return bool(low <= ends["min"] and ends["max"] <= high)


def _days_of_mysql() -> tuple[int, int]:
    return (_FIRST_DATE - _EPOCH).days, (_LAST_DATE - _EPOCH).days


def _all_decimals_fit(array: pa.Array, target: TargetColumn) -> bool:
    kind, whole = array.type, target.precision - target.scale
    if pa.types.is_integer(kind):
        return _all_between(array, 1 - 10**whole, 10**whole - 1)
    if not pa.types.is_decimal(kind):
        return False
    if kind.scale <= target.scale and kind.precision - kind.scale <= whole:
        return True
    try:
        array.cast(pa.decimal128(min(target.precision, 38), target.scale))
    except pa.ArrowInvalid:
        return False
    return target.precision <= 38


def _integer_range(target: TargetColumn) -> tuple[int, int]:
    bits = _INTEGERS[target.data_type]
    return (0, 2**bits - 1) if "unsigned" in target.column_type else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _check(value: Any, column: MappedColumn) -> None:
    """Raises Misfit when a value does not fit."""
    target = column.target
    if value is None:
        if column.is_key or not target.nullable:
            raise Misfit("is NULL")
        return
    if _cuts_spaces(column) and isinstance(value, str) and value.endswith(" "):
        sees = "keep in a CHAR" if target.data_type == "char" else "see when it compares keys"
        raise Misfit(f"ends with a space, which MySQL does not {sees}")
    _CHECKS[target.data_type](value, target)


def _cuts_spaces(column: MappedColumn) -> bool:
    return column.is_key or column.target.data_type == "char"


def _integer(value: Any, target: TargetColumn) -> None:
    if not isinstance(value, bool | int):
        raise Misfit("is not a whole number")
    low, high = _integer_range(target)
    if not low <= value <= high:
        raise Misfit(f"{value} is out of the range of {target.column_type}")


def _decimal(value: Any, target: TargetColumn) -> None:
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


def _double(value: Any, _: TargetColumn) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Misfit(f"{value} is not a number that MySQL can hold")
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise Misfit("is not a number")
    if float(value) != value:
        raise Misfit(f"{value} would be rounded by DOUBLE")


def _float(value: Any, target: TargetColumn) -> None:
    _double(value, target)
    if abs(value) > 3.4e38 or struct.unpack("f", struct.pack("f", value))[0] != value:
        raise Misfit(f"{value} would be rounded by FLOAT")


def _text(value: Any, target: TargetColumn) -> None:
    if isinstance(value, bytes):
        raise Misfit("is binary")
    size = len(value.encode()) if target.data_type.endswith("text") else len(value)
    if size > target.length:
        raise Misfit(f"has {size} characters, {target.column_type} holds {target.length}")


def _bytes(value: Any, target: TargetColumn) -> None:
    if not isinstance(value, bytes):
        raise Misfit("is not binary")
    if len(value) > target.length:
        raise Misfit(f"has {len(value)} bytes, {target.column_type} holds {target.length}")
    if target.data_type == "binary" and len(value) < target.length:
        raise Misfit(f"has {len(value)} bytes, {target.column_type} would add zeros")


def _date(value: Any, _: TargetColumn) -> None:
    _year(value)
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise Misfit("is not a date")


def _datetime(value: Any, target: TargetColumn) -> None:
    _year(value)
    if not isinstance(value, dt.datetime):
        raise Misfit("is not a point in time")
    if value.microsecond % 10 ** (6 - target.scale):
        raise Misfit(f"{value} would be rounded to {target.scale} places of a second")


def _year(value: Any) -> None:
    if isinstance(value, FarMoment) or (isinstance(value, dt.date) and value.year < _FIRST_DATE.year):
        raise Misfit(
            f"{value} is outside of the years {_FIRST_DATE.year} to {_LAST_DATE.year}, which MySQL's dates hold"
        )


def _timestamp(value: Any, target: TargetColumn) -> None:
    _datetime(value, target)
    if not _TIMESTAMPS[0] < value.astimezone(dt.UTC).replace(tzinfo=None) < _TIMESTAMPS[1]:
        raise Misfit(f"{value} is outside of what TIMESTAMP holds; a DATETIME column keeps it")


def _time(value: Any, target: TargetColumn) -> None:
    if not _TIME_OF_DAY.fullmatch(str(value)):
        raise Misfit("is not a time of day, HH:MM:SS")
    if len(str(value).partition(".")[2].rstrip("0")) > target.scale:
        raise Misfit(f"{value} would be rounded to {target.scale} places of a second")


def _json(value: Any, target: TargetColumn) -> None:
    if target.column_type == "json":
        for number in _decimals(value):
            if Decimal(repr(float(number))) != number:
                raise Misfit(f"{number:f} would be rounded in MySQL's JSON; a LONGTEXT column keeps it")


def _decimals(value: Any) -> Iterator[Decimal]:
    """The fractions anywhere inside a value; MySQL (8.0 to 9.7) keeps those of JSON as DOUBLE."""
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _decimals(item)


_CHECKS: dict[str, Callable[[Any, TargetColumn], None]] = {
    **dict.fromkeys(_INTEGERS, _integer),
    "decimal": _decimal,
    "double": _double,
    "float": _float,
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), _text),
    "json": _json,
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), _bytes),
    "date": _date,
    "datetime": _datetime,
    "timestamp": _timestamp,
    "time": _time,
}
FILLABLE = set(_CHECKS)
"""The column types that a fact or a dimension can have."""
