"""ROWTIME of a column: numbers, timestamps and texts, and what has no time."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from pipeline.errors import SourceNotReadable
from pipeline.kafka.rowtime import NO_TIME, reader_of, rowtimes

NOON = dt.datetime(2026, 11, 28, 12, 0, 0, 250_000, tzinfo=dt.UTC)
NOON_MS = 1_795_867_200_250
FEBRUARY_MS = 1_772_280_000_000


def test_times_of_numbers_and_timestamps_are_milliseconds() -> None:
    numbers = pa.array([NOON_MS, None, -5, 0], pa.int64())
    timestamps = pa.array([NOON, None, dt.datetime(1969, 12, 31, tzinfo=dt.UTC)], pa.timestamp("us", tz="UTC"))

    assert rowtimes(numbers, "").tolist() == [NOON_MS, NO_TIME, NO_TIME, 0]
    assert rowtimes(timestamps, "").tolist() == [NOON_MS, NO_TIME, NO_TIME]


@pytest.mark.parametrize(
    ("pattern", "text", "milliseconds"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2026-11-28T12:00:00.250Z", NOON_MS),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2026-11-28T13:30:00.250+01:30", NOON_MS),
        ("yyyy-MM-dd HH:mm:ssZ", "2026-11-28 07:00:00-0500", NOON_MS - 250),
        ("d/M/uuuu HH:mm:ss.SSSSSS xx", "28/11/2026 12:00:00.250999 +0000", NOON_MS),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-11-28t12:00:00z", NOON_MS - 250),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-02-30T12:00:00Z", FEBRUARY_MS),
        ("yyyy-MM-dd'T'HH:mm:ss.SX", "2026-02-31T24:00:00.0+12", FEBRUARY_MS),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-02-28T24:00:00-18:00", FEBRUARY_MS + 30 * 3_600_000),
        ("yyyy-MM-dd'T'HH:mm:ss.SX", "2026-02-28T24:00:00.1Z", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-02-28T25:00:00Z", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-02-32T12:00:00Z", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-13-31T12:00:00Z", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-02-28T12:00:00+18:01", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-02-28T12:00:00+01:60", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssX", "9999-12-31T24:00:00Z", 253_402_300_800_000),
        ("yyyy-MM-dd'T'HH:mm:ssX", "yesterday", NO_TIME),
        ("yyyy-MM-dd'T'HH:mm:ssX", "1969-12-31T23:59:59Z", NO_TIME),
    ],
)
def test_texts_are_read_by_the_pattern(pattern: str, text: str, milliseconds: int) -> None:
    assert rowtimes(pa.array([text, None]), pattern).tolist() == [milliseconds, NO_TIME]


@pytest.mark.parametrize("pattern", ["yyyy-MM-dd HH:mm:ss", "HH:mm:ssX", "EEE, dd MM yyyy HHX", "yyyyMMddyyyyX", ""])
def test_a_pattern_whose_meaning_is_not_certain_is_refused(pattern: str) -> None:
    with pytest.raises(SourceNotReadable, match="TIMESTAMP_FORMAT"):
        reader_of(pattern)
