"""Hourly runs of one feed, each by its own clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import NOW, add_rows, commit_id, stream_feed
from tests.support import lake_at

HOUR = dt.timedelta(hours=1)
FEED = stream_feed(retention_days=365)


def run(root: Path, number: int, commits: bool = True, grace_hours: int = 48) -> LakeTable:
    """The hourly run of that number, by its own clock; each adds a row."""
    now = NOW + number * HOUR
    with lake_at(root, grace_hours).writing(FEED, {"since": f"{now:%Y-%m-%dT%H:%M:%SZ}"}) as table:
        if commits:
            rowtime = int(now.timestamp() * 1000)
            add_rows(table, number, [(rowtime, 0, number, f"v{number}")], now)
        expire(table, commit_id(0), now, max_share=1)
    return table
