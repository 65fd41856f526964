"""The contract of `pipeline.decode` in Python, with msgspec for the JSON.

Encoding facts: section "value encoding" of a 7.6.13 server, re-checked on 7.2 and 8.3.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

import msgspec
import pyarrow as pa

from pipeline.columns import EXACT_DOUBLE_DIGITS, SCALARS, SqlType, arrow_type
from pipeline.decode.arrays import Arrays, NotHeld, Prepare, Values, plain
from pipeline.errors import TypeNotSupported, ValueNotRepresentable

_DOUBLE_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_WIDE = decimal.Context(prec=76, rounding=decimal.ROUND_HALF_EVEN)
_EXACT = decimal.Context(prec=76, traps=[decimal.Inexact, decimal.InvalidOperation])
_EPOCH_ORDINAL = dt.date(1970, 1, 1).toordinal()
_GREGORIAN_START_MS = -12219292800000
_ISO_DATE = re.compile(r"([+-]?\d{4,})-(\d\d)-(\d\d)")
_ISO_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?")

Convert = Callable[[Any], Any]

# Types that are built at run time, which a type checker cannot follow.
_LIST: Any = list
_DICT: Any = dict
_TUPLE: Any = tuple
_DICT_OF_FIELDS: Any = TypedDict
_ODD_NAME = re.compile(r'["\\\x00-\x1f]')


class _Unreadable(ValueError):
    """Why a value cannot be read, in our words."""


def json_type(type_: SqlType) -> Any:
    """The Python type for the JSON decoder, with which no digit is lost."""
    if type_.base in SCALARS:
        return FORMS[SCALARS[type_.base].sent_as].json_type | None
    if type_.base == "ARRAY" and type_.element:
        return _LIST[json_type(type_.element)] | None
    if type_.base == "MAP" and type_.key and type_.element:
        value = json_type(type_.element)
        if type_.key.base == "STRING":
            return _DICT[str, value] | None
        pair = _TUPLE[json_type(type_.key), value]
        return _DICT[str, value] | _LIST[pair] | None
    if type_.base == "STRUCT" and type_.fields:
        return _struct_type(type_) | None
    raise TypeNotSupported(f"columns of type {type_} are not supported", "leave the column out in a derived stream")


def _struct_type(type_: SqlType) -> Any:
    """A type that refuses undeclared fields: one might be a declared field, misspelled, and would be dropped."""
    fields = [(name, json_type(field)) for name, field in type_.fields]
    if any(_ODD_NAME.search(name) for name, _ in fields):
        for name, _ in fields:
            msgspec.json.encode(name)  # or msgspec (0.22) does not find a field whose name is not all ASCII
        return _DICT_OF_FIELDS("Fields", dict(fields))  # accepts such names, but ignores undeclared fields
    attributes = [(f"f{place}", kind) for place, (_, kind) in enumerate(fields)]
    names = {attribute: name for (attribute, _), (name, _) in zip(attributes, fields, strict=True)}
    return msgspec.defstruct("Fields", attributes, rename=names, forbid_unknown_fields=True, gc=False)


def fields_of(value: Any) -> dict[str, Any]:
    """The decoded fields of a STRUCT by name, in a new dict."""
    if isinstance(value, dict):
        return value.copy()
    return dict(zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True))


def to_array(values: Sequence[Any], type_: SqlType, column: str, inside_struct: bool = False) -> pa.Array:
    """One column's decoded values as an Arrow array of `arrow_type(type_)`; `inside_struct` says how they were sent.

    Raises ValueNotRepresentable naming `column`.
    """
    try:
        return (_IN_STRUCTS if inside_struct else _IN_COLUMNS).array(values, type_)
    except (pa.ArrowException, ValueError, KeyError, OverflowError, decimal.DecimalException) as error:
        raise ValueNotRepresentable(
            f"column {column}: a value does not fit its declared type {type_}"
            + (f": {error}" if isinstance(error, _Unreadable) else ""),  # without messages of libraries
            "check the column's declaration on the server against its data",
        ) from error


def _usual_or_each(values: Values, type_: SqlType) -> pa.Array:
    """The values as an array if they come as numbers; else each converted from what it came as."""
    convert = FORMS[SCALARS[type_.base].sent_as].convert
    assert convert
    try:
        return plain(values, type_)
    except (pa.ArrowException, OverflowError, TypeError, NotHeld):
        return pa.array([None if value is None else convert(value) for value in values], arrow_type(type_))


def _decimals(values: Values, type_: SqlType, to_scale: Callable[[int], Convert]) -> Values | pa.Array:
    """All as they are if they fit; else each as `to_scale` makes it.

    Arrow 26 crashes for an exponent far below the scale, so numbers with exponents are never left to it.
    """
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    if b"E" not in bytes(texts.buffers()[2] or b""):
        with contextlib.suppress(pa.ArrowException):
            return texts.cast(arrow_type(type_))
    convert = to_scale(type_.scale)
    return [None if value is None else convert(value) for value in values]


def _exact_decimals(values: Values, type_: SqlType) -> Values | pa.Array:
    return _decimals(values, type_, _exact)


def _rounded_decimals(values: Values, type_: SqlType) -> Values | pa.Array:
    return _decimals(values, type_, _round_to)


def _pairs(values: Values, type_: SqlType) -> Values:
    """MAPs with their keys read from text."""
    key = type_.key
    assert key
    if key.base == "STRING":
        return values
    read_key = FORMS[SCALARS[key.base].sent_as].read_key
    assert read_key
    to_scale = _exact(key.scale) if key.base == "DECIMAL" else None

    def to_pairs(value: dict[str, Any] | list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else value
        items = [(read_key(name) if isinstance(name, str) else name, item) for name, item in items]
        if to_scale is None:
            return items
        return [(name if name is None else to_scale(name), item) for name, item in items]

    return [None if value is None else to_pairs(value) for value in values]


def _pairs_in_structs(values: Values, type_: SqlType) -> Values:
    key = type_.key
    assert key
    if key.base == "DECIMAL" and key.precision > EXACT_DOUBLE_DIGITS:
        raise TypeNotSupported(
            f"a map with {key} keys inside a STRUCT cannot be read exactly: the server sends them as doubles",
            "derive a stream that casts the keys to STRING and export that one",
        )
    return _pairs(values, type_)


def _fields(values: Values, type_: SqlType) -> Values:
    """STRUCTs with their fields in order."""
    if type(None) not in (kinds := set(map(type, values))) and dict not in kinds:
        return list(map(msgspec.structs.astuple, values))
    names, fields_of_one = [name for name, _ in type_.fields], msgspec.structs.astuple
    return [
        None if value is None else [value[name] for name in names] if isinstance(value, dict) else fields_of_one(value)
        for value in values
    ]


def _round_to(scale: int) -> Convert:
    """A double inside a STRUCT stands for the decimal next to it."""
    step = Decimal(1).scaleb(-scale)
    return lambda value: value.quantize(step, context=_WIDE)


def _exact(scale: int) -> Convert:
    """A function that gives decimals their scale."""
    step = Decimal(1).scaleb(-scale)

    def to_scale(value: Decimal) -> Decimal:
        if not value.is_finite():
            raise _Unreadable(f"{value} is not a number")
        return value.quantize(step, context=_EXACT)

    return to_scale


def _double(value: float | str) -> float:
    return _DOUBLE_WORDS[value] if isinstance(value, str) else value


def _epoch_days(value: int | str) -> int:
    if isinstance(value, int):
        return value
    match = _ISO_DATE.fullmatch(value)
    if match is None:
        raise _Unreadable(f"{value!r} is not a date")
    year, month, day = (int(part) for part in match.groups())
    # The Gregorian calendar repeats every 400 years of 146097 days; Python's dates end at 9999.
    cycles, year_in_cycle = divmod(year - 2000, 400)
    return dt.date(2000 + year_in_cycle, month, day).toordinal() - _EPOCH_ORDINAL + cycles * 146097


def _time_text(value: int | str) -> str:
    if isinstance(value, str):
        match = _ISO_TIME.fullmatch(value)
        if match is None:
            raise _Unreadable(f"{value!r} is not a time of day")
        hour, minute, second, fraction = match.groups()
        return f"{hour}:{minute}:{second or '00'}.{(fraction or '')[:3]:0<3}"
    if not 0 <= value < 86_400_000:
        raise _Unreadable(f"{value} ms is not a time of day")
    seconds, ms = divmod(value, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def _epoch_us(value: int | str) -> int:
    if isinstance(value, int):
        return value * 1000
    day, _, time = value.partition("T")
    match = _ISO_TIME.fullmatch(time)
    if match is None:
        raise _Unreadable(f"{value!r} is not a point in time")
    hour, minute, second, fraction = (part or "" for part in match.groups())
    ms = ((int(hour) * 60 + int(minute)) * 60 + int(second or 0)) * 1000 + int(f"{fraction:0<3}"[:3])
    epoch_ms = _epoch_days(day) * 86_400_000 + ms
    if epoch_ms < _GREGORIAN_START_MS:
        raise _Unreadable(f"the server's text {value!r} is in the Julian calendar and without an era: ask for epoch ms")
    return epoch_ms * 1000


@dataclass(frozen=True)
class _Form:
    """How the values of one form are read from JSON."""

    json_type: Any
    convert: Convert | None = None
    """Converts a value to one for Arrow; None if no conversion is needed."""
    read_key: Convert | None = None
    """Reads the key of a MAP from its text."""


FORMS: Mapping[str, _Form] = {
    "boolean": _Form(bool, read_key={"true": True, "false": False}.__getitem__),
    "integer": _Form(int, read_key=int),
    "double": _Form(float | str, _double, read_key=float),  # NaN and the infinities come as strings
    "decimal": _Form(Decimal, read_key=Decimal),
    "text": _Form(str, read_key=str),
    "base64": _Form(bytes),
    "date": _Form(int | str, _epoch_days),  # numbers inside a STRUCT, text elsewhere; the same for the next two
    "time": _Form(int | str, _time_text),
    "timestamp": _Form(int | str, _epoch_us),
}
"""The forms by their names in the table of types (`Scalar.sent_as`)."""

_PREPARED: Mapping[str, Prepare] = {
    **dict.fromkeys(("DOUBLE", "DATE", "TIME", "TIMESTAMP"), _usual_or_each),
    "DECIMAL": _exact_decimals,
    "MAP": _pairs,
    "STRUCT": _fields,
}
_IN_STRUCTS = Arrays(prepare={**_PREPARED, "DECIMAL": _rounded_decimals, "MAP": _pairs_in_structs})
_IN_COLUMNS = Arrays(prepare=_PREPARED, of_fields=_IN_STRUCTS)
