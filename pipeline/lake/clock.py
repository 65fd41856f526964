"""A feed's time: no commit is dated before the newest one, and no single run's clock decides that a period has passed.

A clock that jumped back is detected. A clock that jumped forward looks like a long pause between runs, so the deletion
of files, which cannot be undone, needs the clocks of two runs.
"""

from __future__ import annotations

import datetime as dt

from pipeline.errors import ClockWentBack

_DAY = dt.timedelta(days=1)
CHECKPOINTS_FORGET = dt.timedelta(days=400)
"""A checkpoint has no file that was removed so long before it, by the clock."""


def guarded(feed: str, newest: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    """The time that a feed's change is made at: `now`, but never before its `newest` commit.

    Raises ClockWentBack when `now` is more than a day before that.
    """
    if newest is None or now >= newest:
        return now
    if now < newest - _DAY:
        raise ClockWentBack(
            f"the newest commit of {feed} was made at {clock_text(newest)} by the clock of that run, "
            f"and now it is {clock_text(now)}",
            f"set this machine's clock; if it is right and was wrong then: python metadata_utils.py repair {feed}",
        )
    return newest


def surely_past(
    newest: dt.datetime | None, previous_run: dt.datetime | None, this_run: dt.datetime | None
) -> dt.datetime | None:
    """The latest time that an earlier run's clock and this run's have both reached; None without an earlier run.

    `newest` is the time of the newest commit before this run.
    """
    before = [time for time in (newest, previous_run) if time is not None]
    if not before:
        return None
    return max(before) if this_run is None else min(max(before), this_run)


def is_over(since_ms: int, period: dt.timedelta, past: dt.datetime | None) -> bool:
    """Whether a period that began then has ended at `past`, a safely past time; a period of nothing always has."""
    return not period or (past is not None and since_ms <= int((past - period).timestamp() * 1000))


def clock_text(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
