"""ROWTIME as ksqlDB determines it: the record's own time, or the time in a column, in milliseconds since 1970.

A record whose time cannot be determined, or lies before 1970, is no row: ksqlDB skips it
(`ksql.timestamp.throw.on.invalid` is false unless somebody sets it). Facts: its TimestampExtractor classes, and the
documentation of Java's DateTimeFormatter for TIMESTAMP_FORMAT. StringToTimestampParser has it pass over the case of
letters. Its ResolverStyle is SMART: a day of the month up to 31 is at most the last one of its month, and 24:00 the end
of its day. ZoneOffset ends at 18:00.
"""

from __future__ import annotations

import calendar
import datetime as dt
import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import SourceNotReadable

NO_TIME = -1
_EPOCH, _MS = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(milliseconds=1)
_PART = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|.", re.DOTALL)
_DIGITS = {
    "yyyy": r"(?P<year>\d{4})",
    "uuuu": r"(?P<year>\d{4})",
    "MM": r"(?P<month>\d\d)",
    "M": r"(?P<month>\d{1,2})",
    "dd": r"(?P<day>\d\d)",
    "d": r"(?P<day>\d{1,2})",
    "HH": r"(?P<hour>\d\d)",
    "H": r"(?P<hour>\d{1,2})",
    "mm": r"(?P<minute>\d\d)",
    "ss": r"(?P<second>\d\d)",
    "X": r"(?P<zone>Z|[+-]\d\d(?:\d\d)?)",
    "XX": r"(?P<zone>Z|[+-]\d{4})",
    "XXX": r"(?P<zone>Z|[+-]\d\d:\d\d)",
    "x": r"(?P<zone>[+-]\d\d(?:\d\d)?)",
    "xx": r"(?P<zone>[+-]\d{4})",
    "xxx": r"(?P<zone>[+-]\d\d:\d\d)",
    "Z": r"(?P<zone>[+-]\d{4})",
}


def rowtimes(column: pa.Array, text_format: str) -> Any:
    """A numpy array of milliseconds; NO_TIME where the column has no time that ksqlDB takes.

    Raises SourceNotReadable for a `text_format` that is not read here.
    """
    if pa.types.is_string(column.type):
        read = reader_of(text_format)
        return np.array([NO_TIME if text is None else read(text) for text in column.to_pylist()], np.int64)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
    times = pc.fill_null(column.cast(pa.int64()), NO_TIME).to_numpy(zero_copy_only=False)
    return np.maximum(times, NO_TIME)


@functools.cache
def reader_of(text_format: str) -> Callable[[str], int]:
    """A function that reads one text in a Java pattern of years, months, days, times and offsets.

    Raises SourceNotReadable for other patterns, and for a pattern without a date or an offset: its meaning depends on
    the server's time zone.
    """
    expression = "".join(_expression(*found) for found in _parts(text_format))
    try:
        pattern = re.compile(expression, re.ASCII | re.IGNORECASE)
    except re.error:  # a part of the time is there twice
        raise _not_read(text_format) from None
    if not {"year", "month", "day"} <= pattern.groupindex.keys() or "zone" not in pattern.groupindex:
        raise _not_read(text_format)

    def read(text: str) -> int:
        found = pattern.fullmatch(text)
        return NO_TIME if found is None else _milliseconds(found.groupdict())

    return read


def _parts(text_format: str) -> list[tuple[str, str | None, str | None]]:
    return [(found[0], found[1], found[2]) for found in _PART.finditer(text_format)]


def _expression(whole: str, quoted: str | None, letter: str | None) -> str:
    if letter is None:
        return re.escape(whole if quoted is None else quoted.replace("''", "'") or "'")
    if letter == "S":
        return rf"(?P<fraction>\d{{{len(whole)}}})"
    if whole not in _DIGITS:
        raise _not_read(whole)
    return _DIGITS[whole]


def _milliseconds(parts: dict[str, str | None]) -> int:
    numbers = {name: int(parts.get(name) or 0) for name in ("year", "month", "day", "hour", "minute", "second")}
    fraction = parts.get("fraction") or ""
    is_next_day = numbers["hour"] == 24 and not (numbers["minute"] or numbers["second"] or int(fraction or 0))
    try:
        if 28 < numbers["day"] <= 31:
            numbers["day"] = min(numbers["day"], calendar.monthrange(numbers["year"], numbers["month"])[1])
        if is_next_day:
            numbers["hour"] = 0
        moment = dt.datetime(**numbers, tzinfo=dt.UTC) - _offset(parts["zone"] or "")
    except (ValueError, OverflowError):
        return NO_TIME
    since = moment - _EPOCH + dt.timedelta(days=is_next_day)
    return max(NO_TIME, since // _MS + int(fraction[:3].ljust(3, "0")))


def _offset(text: str) -> dt.timedelta:
    """Raises ValueError."""
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2] or 0), int(digits[2:] or 0)
    if minutes > 59 or (hours, minutes) > (18, 0):
        raise ValueError(text)
    return dt.timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


def _not_read(what: str) -> SourceNotReadable:
    return SourceNotReadable(
        f"times in the TIMESTAMP_FORMAT {what!r} are not read from Kafka itself",
        "read the feed by ksqlDB: python manage_feeds.py update FEED --read-from ksqldb",
    )
