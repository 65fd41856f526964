"""Reads any JSON payload as ksqlDB reads it. Slow and complete; `json_payloads` is the fast way.

Facts, from ksqlDB's public source (KsqlJsonDeserializer, JsonSerdeUtils, SerdeUtils, DecimalUtil; the same from 0.26
to 8.x) and that of Jackson, its JSON library, which reads floats as BigDecimal:
- A field is found by its exact name, else by the last name that equals the declared one in upper case; of a name that
  occurs twice the last counts. Fields that are not declared are ignored, missing fields are NULL.
- BOOLEAN takes true and false alone. INTEGER and BIGINT take numbers, cut to their bits and without their fraction, and
  text as Java parses it; DOUBLE numbers and text; DECIMAL both, where no digit is lost; DATE (days), TIME (milliseconds
  of the day) and TIMESTAMP (milliseconds) whole numbers as BIGINT takes them.
- STRING takes everything: numbers by their digits, objects as compact JSON, arrays as `[a, b]`.
- BYTES is base64 with its padding; white space is allowed before each group of four.
- Anything after the first JSON value of a payload is ignored.
- Jackson recognises UTF-16 and UTF-32 without a mark at their start by a zero among the first two bytes.
"""

from __future__ import annotations

import base64
import decimal
import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from pipeline.columns import SqlType
from pipeline.kafka.formats.held import held_date, held_time, held_timestamp
from pipeline.kafka.formats.java import decimal_of, double_of, exponent_of, fit, integer_of, narrowed, text_of
from pipeline.kafka.formats.payload import Uncertain, Unreadable

_SPACE = " \t\r\n"
_WIDE = ("utf-32-be", "utf-32-le", "utf-16-be", "utf-16-le")
_BASE64 = re.compile(
    r"(?:[\x00-\x20]*[A-Za-z0-9+/]{4})*(?:[\x00-\x20]*[A-Za-z0-9+/]{2}(?:==|[A-Za-z0-9+/]=))?[\x00-\x20]*"
)
_BLANKS = re.compile(r"[\x00-\x20]+")
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_MOST_DIGITS = 1000
"""Jackson's own limit for a number since 2.15."""

MISSING: Any = object()
"""Stands for a payload without any JSON, which Jackson reads as neither a value nor NULL."""


def parse(payload: bytes) -> Any:
    """The first JSON value in it: dict, list, str, int, Decimal, bool or None. Raises Unreadable."""
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Uncertain("no UTF-8") from None
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        return MISSING
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, decimal.DecimalException) as error:
        _refuse_wide(payload)
        raise error if isinstance(error, Unreadable) else Unreadable("no JSON") from None
    if not isinstance(value, dict | list | str) and end < len(text) and text[end] not in _SPACE:
        raise Unreadable("no JSON")
    return value


def _refuse_wide(payload: bytes) -> None:
    """Raises Uncertain for JSON in UTF-16 or UTF-32; the number of a schema has zeros at its start as well."""
    for encoding in _WIDE if 0 in payload[:2] else ():
        try:
            _DECODER.raw_decode(payload.decode(encoding, "replace").lstrip(_SPACE))
        except (ValueError, decimal.DecimalException):
            continue
        raise Uncertain("no UTF-8")


def coerce(value: Any, type_: SqlType) -> Any:
    """Converts a parsed value to the form of `json_payloads`; a STRUCT has its fields as attributes f0, f1, ...

    Raises Unreadable, with the path to the value.
    """
    if value is None:
        return None
    return _READ[type_.base](value, type_)


def _refuse_word(_word: str) -> Any:
    raise Unreadable("no JSON")  # NaN and Infinity are not JSON


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise Uncertain(f"a number of more than {_MOST_DIGITS} digits")
    return int(digits)


def _fraction(digits: str) -> Decimal:
    if len(digits) > _MOST_DIGITS:
        raise Uncertain(f"a number of more than {_MOST_DIGITS} digits")
    value = Decimal(digits)
    exponent_of(value)
    return value


_DECODER = json.JSONDecoder(parse_int=_whole_number, parse_float=_fraction, parse_constant=_refuse_word)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _no(value: Any, type_: SqlType) -> Unreadable:
    kinds = {bool: "true or false", str: "a text", dict: "an object", list: "an array"}
    what = "nothing" if value is MISSING else kinds.get(type(value), "a number")
    return Unreadable(f"{what} where {type_.base} is declared")


def _boolean(value: Any, type_: SqlType) -> bool:
    if not isinstance(value, bool):
        raise _no(value, type_)
    return value


def _integer(bits: int) -> Callable[[Any, SqlType], int]:
    def read(value: Any, type_: SqlType) -> int:
        if _is_number(value):
            return narrowed(value, bits)
        if isinstance(value, str):
            return integer_of(value, bits)
        raise _no(value, type_)

    return read


_long = _integer(64)


def _double(value: Any, type_: SqlType) -> float | str:
    """A negative zero in text is returned as text, so that it is kept: for ksqlDB the JSON number -0.0 is 0.0."""
    if isinstance(value, str):
        read = double_of(value)
    elif _is_number(value):
        read = _nearest_double(value)
    else:
        raise _no(value, type_)
    return "-0.0" if read == 0 and math.copysign(1, read) < 0 else read


def _nearest_double(value: int | Decimal) -> float:
    if not value:
        return 0.0
    try:
        return float(value)
    except OverflowError:  # of a whole number
        return math.inf if value > 0 else -math.inf


def _decimal(value: Any, type_: SqlType) -> Decimal:
    if isinstance(value, str):
        value = decimal_of(value)
    elif not _is_number(value):
        raise _no(value, type_)
    return fit(Decimal(value), type_.precision, type_.scale)


def _string(value: Any, _type: SqlType) -> str:
    if value is MISSING:
        return ""
    text = _as_text(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Uncertain("half of a surrogate pair in a text, which is no character") from None
    return text


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return text_of(value)
    if isinstance(value, list):
        return f"[{', '.join('null' if item is None else _as_text(item) for item in value)}]"
    return _as_json(value) if isinstance(value, dict) else str(value)


def _as_json(value: Any) -> str:
    """JSON text as Jackson writes it: compact, escapes in upper case, other characters unescaped."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_as_json(name)}:{_as_json(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_as_json, value))}]"
    if isinstance(value, str):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    return _as_text(value)


def _escape(match: re.Match[str]) -> str:
    return _SHORT_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04X}"


def _bytes(value: Any, type_: SqlType) -> bytes:
    if not isinstance(value, str):
        raise _no(value, type_)
    if not _BASE64.fullmatch(value):
        raise Unreadable("a text that is no base64")
    return base64.b64decode(_BLANKS.sub("", value))


def _held(check: Callable[[int], int]) -> Callable[[Any, SqlType], int]:
    return lambda value, type_: check(_long(value, type_))


def _array(value: Any, type_: SqlType) -> list[Any]:
    if not isinstance(value, list):
        raise _no(value, type_)
    assert type_.element
    return [_inside("[]", item, type_.element) for item in value]


def _map(value: Any, type_: SqlType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _no(value, type_)
    assert type_.element
    return {_inside(".key", key, _TEXT): _inside("{}", item, type_.element) for key, item in value.items()}


def _struct(value: Any, type_: SqlType) -> SimpleNamespace:
    if not isinstance(value, dict):
        raise _no(value, type_)
    upper_cased: Mapping[str, Any] | None = None
    fields = {}
    for place, (name, inner) in enumerate(type_.fields):
        found = value.get(name, MISSING)
        if found is MISSING:
            if upper_cased is None:
                upper_cased = {key.upper(): item for key, item in value.items()}
            found = upper_cased.get(name)
        fields[f"f{place}"] = _inside(name, found, inner)
    return SimpleNamespace(**fields)


def _inside(step: str, value: Any, type_: SqlType) -> Any:
    try:
        return coerce(value, type_)
    except Unreadable as error:
        raise error.inside(step) from None


_TEXT = SqlType("STRING")
_READ: Mapping[str, Callable[[Any, SqlType], Any]] = {
    "BOOLEAN": _boolean,
    "INTEGER": _integer(32),
    "BIGINT": _long,
    "DOUBLE": _double,
    "DECIMAL": _decimal,
    "STRING": _string,
    "BYTES": _bytes,
    "DATE": _held(held_date),
    "TIME": _held(held_time),
    "TIMESTAMP": _held(held_timestamp),
    "ARRAY": _array,
    "MAP": _map,
    "STRUCT": _struct,
}
