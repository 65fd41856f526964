"""Values as text that a person reads."""

from __future__ import annotations

import datetime as dt

from pipeline.text import rfc3339


def test_moments_are_shown_in_utc_to_the_millisecond_with_or_without_a_time_zone() -> None:
    moment = dt.datetime(2026, 11, 23, 8, 0, 0, 123_999)

    assert rfc3339(moment) == "2026-11-23T08:00:00.123Z"
    assert rfc3339(moment.replace(tzinfo=dt.UTC)) == "2026-11-23T08:00:00.123Z"
    assert rfc3339(moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))) == "2026-11-23T02:30:00.123Z"
