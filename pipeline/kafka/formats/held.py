"""Checks that numbers which ksqlDB reads as DATE, TIME or TIMESTAMP are in the lake's range.

ksqlDB's own range is wider: it reads each whole number as a DATE or a TIMESTAMP, and 24:00 as a TIME
(SerdeUtils.returnTimeOrThrow).
"""

from __future__ import annotations

from pipeline.decode.arrays import DAY_MS
from pipeline.kafka.formats.payload import Uncertain, Unreadable


def held_date(days: int) -> int:
    """Days since 1970. Raises Uncertain outside of the lake's range."""
    if not -(2**31) <= days < 2**31:
        raise Uncertain("a DATE that the lake cannot hold")
    return days


def held_time(milliseconds: int) -> int:
    """Milliseconds of a day. Raises Uncertain for 24:00, Unreadable for other numbers out of range."""
    if not 0 <= milliseconds < DAY_MS:
        raise (Uncertain if milliseconds == DAY_MS else Unreadable)("a number that is no time of day")
    return milliseconds


def held_timestamp(milliseconds: int) -> int:
    """Milliseconds since 1970. Raises Uncertain outside of the lake's range."""
    if not -(2**63) <= milliseconds * 1000 < 2**63:
        raise Uncertain("a TIMESTAMP that the lake cannot hold")
    return milliseconds
