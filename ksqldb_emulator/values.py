"""Values as the server's JSON shows them, byte for byte (its JSON library's settings; seen on 7.2, 7.6 and 8.3).

Top-level values and those inside arrays and maps have one form; inside a STRUCT another converter is at work, which
makes decimals doubles and dates and times numbers.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

from ksqldb_emulator.sqltypes import Type

_GREGORIAN_START_MS = -12219292800000
_DAY_MS = 86_400_000
_EPOCH_JULIAN_DAY = 2_440_588
_CONTROL = re.compile(r"\\u00[0-9a-f]{2}")
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")


def to_json(data: Any) -> str:
    """Any JSON structure as the server writes it: compact, raw UTF-8, escaped pairs beyond U+FFFF."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = _CONTROL.sub(lambda match: "\\u" + match.group()[2:].upper(), text)
    return _BEYOND_BMP.sub(lambda match: _surrogates(match.group()), text)


def _surrogates(char: str) -> str:
    high, low = divmod(ord(char) - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04X}"


def encode(value: Any, type_: Type, in_struct: bool = False) -> str:
    """One value of a column as JSON text."""
    if value is None:
        return "null"
    base = type_.base
    if base == "DOUBLE":
        return java_double(value)
    if base == "DECIMAL":
        return java_double(float(value)) if in_struct and type_.scale > 0 else f"{value:f}"
    if base == "BYTES":
        return f'"{base64.b64encode(value).decode()}"'
    if base in ("DATE", "TIME", "TIMESTAMP"):
        return str(value) if in_struct else f'"{text_of(value, base)}"'
    if base == "ARRAY":
        return "[" + ",".join(encode(item, type_.element, in_struct) for item in value) + "]"
    if base == "MAP":
        return _encode_map(value, type_, in_struct)
    if base == "STRUCT":
        return "{" + ",".join(f"{to_json(n)}:{encode(value.get(n), t, True)}" for n, t in type_.fields) + "}"
    return to_json(value)


def _encode_map(value: dict[Any, Any], type_: Type, in_struct: bool) -> str:
    if in_struct and type_.key.base != "STRING":
        pairs = (f"[{encode(k, type_.key, True)},{encode(v, type_.element, True)}]" for k, v in value.items())
        return "[" + ",".join(pairs) + "]"
    items = (f"{to_json(_key_text(k, type_.key))}:{encode(v, type_.element, in_struct)}" for k, v in value.items())
    return "{" + ",".join(items) + "}"


def _key_text(key: Any, type_: Type) -> str:
    return str(key) if type_.base == "STRING" else encode(key, type_).strip('"')


def java_double(value: float) -> str:
    """Java's Double.toString; NaN and the infinities come as JSON strings."""
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    if abs(value) == 5e-324:
        return "4.9E-324" if value > 0 else "-4.9E-324"
    mantissa, _, exponent = f"{value!r}".partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + (len(whole) - 1 if whole != "0" else -1 - (len(fraction) - len(fraction.lstrip("0"))))
    digits = digits.rstrip("0") or "0"
    if 1e-3 <= abs(value) < 1e7:
        padded = digits.ljust(power + 1, "0") if power >= 0 else "0" * -power + digits
        point = max(power, 0) + 1
        return f"{sign}{padded[:point]}.{padded[point:] or '0'}"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{power}"


def text_of(value: int, base: str) -> str:
    """The text of a DATE, TIME or TIMESTAMP, with what the server loses: milliseconds, calendars and eras."""
    if base == "DATE":
        year, month, day = _gregorian(value)
        sign = "+" if year > 9999 else "-" if year < 0 else ""
        return f"{sign}{abs(year):04}-{month:02}-{day:02}"
    if base == "TIME":
        seconds = value // 1000
        text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
        return text + (f":{seconds % 60:02}" if seconds % 60 else "")
    days, ms = divmod(value, _DAY_MS)
    year, month, day = _gregorian(days) if value >= _GREGORIAN_START_MS else _julian(days)
    if year <= 0:
        year = 1 - year
    clock = f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
    return f"{year:04}-{month:02}-{day:02}T{clock}"


def _gregorian(epoch_days: int) -> tuple[int, int, int]:
    cycles, days = divmod(epoch_days + 719_468, 146_097)
    years = (days - days // 1460 + days // 36_524 - days // 146_096) // 365
    rest = days - (365 * years + years // 4 - years // 100)
    return _from_march(cycles * 400 + years, rest)


def _julian(epoch_days: int) -> tuple[int, int, int]:
    # Days since 1 March of year 0 of the Julian calendar, in cycles of four years.
    cycles, days = divmod(epoch_days + _EPOCH_JULIAN_DAY - 1_721_118 + 0, 1461)
    years = min(days // 365, 3)
    return _from_march(cycles * 4 + years, days - 365 * years)


def _from_march(year: int, day_of_year: int) -> tuple[int, int, int]:
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    return year + (month <= 2), month, day
