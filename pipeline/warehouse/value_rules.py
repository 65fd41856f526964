"""Rules by type of MySQL: which values a column stores exactly, and why it would cut, round or refuse others.

Each rule has two forms: one for a single value, which gives the reason, and one for a whole column, which is much
faster and can only say that all values fit.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.exact_text import FarMoment
from pipeline.warehouse.target import TargetColumn

_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_FIRST_DATE, _LAST_DATE = dt.date(1000, 1, 1), dt.date(9999, 12, 31)  # of MySQL's DATE and DATETIME
_EPOCH = dt.date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (_FIRST_DATE - _EPOCH).days, (_LAST_DATE - _EPOCH).days
_DAY_US = 86_400_000_000
_TIMESTAMPS = (dt.datetime(1970, 1, 1), dt.datetime(2038, 1, 19))  # a TIMESTAMP must lie between them
_MOST_EXACT_IN_DOUBLE = 2**53
_MOST_PRECISION = 38  # of Arrow's decimal128; MySQL's goes to 65
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?")


class Misfit(ValueError):
    """Why a value does not fit its column."""


def _unknown(_: pa.Array, __: TargetColumn) -> bool:
    return False


@dataclass(frozen=True)
class Rule:
    """`check` raises Misfit for a value that does not fit; it is not called for NULL.

    `all_fit` says whether it is certain that every value of a column fits: where it is false, each value must be
    checked. The column may have NULLs, but not only NULLs.
    """

    check: Callable[[Any, TargetColumn], None]
    all_fit: Callable[[pa.Array, TargetColumn], bool] = _unknown


def _integer(value: Any, target: TargetColumn) -> None:
    if not isinstance(value, bool | int):
        raise Misfit("is not a whole number")
    low, high = _integer_range(target)
    if not low <= value <= high:
        raise Misfit(f"{value} is out of the range of {target.column_type}")


def _all_integers(array: pa.Array, target: TargetColumn) -> bool:
    if pa.types.is_boolean(array.type):
        return True
    return pa.types.is_integer(array.type) and _all_between(array, *_integer_range(target))


def _integer_range(target: TargetColumn) -> tuple[int, int]:
    bits = _INTEGER_BITS[target.data_type]
    return (0, 2**bits - 1) if "unsigned" in target.column_type else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _all_between(array: pa.Array, low: int, high: int) -> bool:
    ends = pc.min_max(array).as_py()
    return bool(low <= ends["min"] and ends["max"] <= high)


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


def _all_decimals(array: pa.Array, target: TargetColumn) -> bool:
    kind, whole = array.type, target.precision - target.scale
    if pa.types.is_integer(kind):
        return _all_between(array, 1 - 10**whole, 10**whole - 1)
    if not pa.types.is_decimal(kind):
        return False
    if kind.scale <= target.scale and kind.precision - kind.scale <= whole:
        return True
    try:
        array.cast(pa.decimal128(min(target.precision, _MOST_PRECISION), target.scale))
    except pa.ArrowInvalid:
        return False
    return target.precision <= _MOST_PRECISION


def _double(value: Any, _: TargetColumn) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Misfit(f"{value} is not a number that MySQL can hold")
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise Misfit("is not a number")
    if float(value) != value:
        raise Misfit(f"{value} would be rounded by DOUBLE")


def _all_doubles(array: pa.Array, _: TargetColumn) -> bool:
    if pa.types.is_floating(array.type):
        return bool(pc.all(pc.is_finite(array)).as_py())
    return pa.types.is_integer(array.type) and _all_between(array, -_MOST_EXACT_IN_DOUBLE, _MOST_EXACT_IN_DOUBLE)


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


def _all_texts(array: pa.Array, target: TargetColumn) -> bool:
    if not pa.types.is_string(array.type):
        return False
    size = pc.binary_length(array) if target.data_type.endswith("text") else pc.utf8_length(array)
    return bool(pc.max(size).as_py() <= target.length)


def _bytes(value: Any, target: TargetColumn) -> None:
    if not isinstance(value, bytes):
        raise Misfit("is not binary")
    if len(value) > target.length:
        raise Misfit(f"has {len(value)} bytes, {target.column_type} holds {target.length}")
    if target.data_type == "binary" and len(value) < target.length:
        raise Misfit(f"has {len(value)} bytes, {target.column_type} would add zeros")


def _all_bytes(array: pa.Array, target: TargetColumn) -> bool:
    return pa.types.is_binary(array.type) and bool(pc.max(pc.binary_length(array)).as_py() <= target.length)


def _date(value: Any, _: TargetColumn) -> None:
    _year(value)
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise Misfit("is not a date")


def _all_dates(array: pa.Array, _: TargetColumn) -> bool:
    return pa.types.is_date32(array.type) and _all_between(array.view(pa.int32()), _FIRST_DAY, _LAST_DAY)


def _datetime(value: Any, target: TargetColumn) -> None:
    _year(value)
    if not isinstance(value, dt.datetime):
        raise Misfit("is not a point in time")
    if value.microsecond % 10 ** (6 - target.scale):
        raise Misfit(f"{value} would be rounded to {target.scale} places of a second")


def _all_datetimes(array: pa.Array, target: TargetColumn) -> bool:
    if not (pa.types.is_timestamp(array.type) and array.type.unit == "us"):
        return False
    moments, step = array.view(pa.int64()), 10 ** (6 - target.scale)
    is_exact = not (moments.fill_null(0).to_numpy(zero_copy_only=False) % step).any()
    return is_exact and _all_between(moments, _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1)


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


def _all_json(array: pa.Array, _: TargetColumn) -> bool:
    return bool(pa.types.is_string(array.type))


def _decimals(value: Any) -> Iterator[Decimal]:
    """The decimals anywhere inside a value; MySQL (8.0 to 9.7) stores decimals in JSON as DOUBLE."""
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _decimals(item)


RULES: dict[str, Rule] = {
    **dict.fromkeys(_INTEGER_BITS, Rule(_integer, _all_integers)),
    "decimal": Rule(_decimal, _all_decimals),
    "double": Rule(_double, _all_doubles),
    "float": Rule(_float),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), Rule(_text, _all_texts)),
    "json": Rule(_json, _all_json),
    "binary": Rule(_bytes),
    **dict.fromkeys(("varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Rule(_bytes, _all_bytes)),
    "date": Rule(_date, _all_dates),
    "datetime": Rule(_datetime, _all_datetimes),
    "timestamp": Rule(_timestamp),
    "time": Rule(_time),
}
"""By the type of a column; a fact or a dimension can have no other types."""
