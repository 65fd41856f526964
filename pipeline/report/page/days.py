"""A stream's partitions as days in a row: those that a chart shows, and the sums of all others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.lake.metadata import PartitionState, Totals, sum_of

_DAY = dt.timedelta(days=1)
_NOTHING = Totals()


@dataclass(frozen=True)
class Day:
    """What one date has; nothing where it has no partition."""

    date: dt.date
    totals: Totals


@dataclass(frozen=True)
class Days:
    """Consecutive days, the oldest first, and what lies `before` them, `after` them, and has no date (`undated`)."""

    shown: tuple[Day, ...] = ()
    before: Totals = _NOTHING
    after: Totals = _NOTHING
    undated: Totals = _NOTHING


def days_of(partitions: Sequence[PartitionState], today: dt.date, most: int) -> Days:
    """The newest `most` days up to `today`, or up to the newest partition where all lie in time to come.

    A row with a wrong time makes no chart of fifty years.
    """
    dated: dict[dt.date, Totals] = {}
    undated = list[Totals]()
    for partition in partitions:
        day = _date_of(partition.partition)
        if day is None:
            undated.append(partition.totals)
        else:
            dated[day] = partition.totals
    if not dated:
        return Days(undated=sum_of(undated))
    last = max((day for day in dated if day <= today), default=max(dated))
    first = max(min(dated), dt.date.fromordinal(max(1, last.toordinal() - most + 1)))
    shown = [first + number * _DAY for number in range((last - first).days + 1)]
    return Days(
        tuple(Day(day, dated.get(day, _NOTHING)) for day in shown),
        sum_of(totals for day, totals in dated.items() if day < first),
        sum_of(totals for day, totals in dated.items() if day > last),
        sum_of(undated),
    )


def _date_of(partition: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(partition or "")
    except ValueError:
        return None
