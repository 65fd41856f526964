"""Expiries by a rule that is too short, and what `unexpire` does after them."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

from pipeline.feeds import Feed
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import Expired, find_expired, unexpire
from tests.lake.small_tables import DAY_MS, NOW, add_rows, commit_id, stream_feed, table_feed
from tests.support import lake_at

TODAY = int(NOW.timestamp() * 1000)
SHORT, LONG = stream_feed(retention_days=5), stream_feed(retention_days=365)
FEW, MANY = table_feed(retention_versions=2), table_feed(retention_versions=9)
_numbers = itertools.count(500)


def let_expire(root: Path, feed: Feed) -> list[str]:
    return expire(lake_at(root).table(feed), commit_id(next(_numbers)), NOW, max_share=1)


def bring_back(root: Path, feed: Feed) -> Expired:
    table = lake_at(root).table(feed)
    found = find_expired(table, NOW, grace_hours=168)
    unexpire(table, found, commit_id(next(_numbers)), NOW)
    return found


def a_day_of_which_rows_are_there_again(root: Path, again: int = 1) -> LakeTable:
    """Ten rows of one old day expired; the last ones of them were read again, as by `--full`."""
    table = lake_at(root).table(LONG)
    rows = [(TODAY - 9 * DAY_MS, 0, offset, f"v{offset}") for offset in range(10)]
    add_rows(table, 1, rows)
    let_expire(root, SHORT)
    table = lake_at(root).table(LONG)
    add_rows(table, 2, rows[10 - again :], now=NOW + dt.timedelta(hours=1))
    return table
