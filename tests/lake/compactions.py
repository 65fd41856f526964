"""A stream of a few days in small files, its compaction, and its rows as readers see them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path

import deltalake
import duckdb
import pandas
import polars

from pipeline.feeds import Feed
from pipeline.lake.compaction import Compacted, Goal, compact_feed
from pipeline.lake.lake import Upkeep
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    add_rows,
    commit_id,
    stream_feed,
)
from tests.support import lake_at

TODAY = int(NOW.timestamp() * 1000)
GOAL = Goal(10**6)
EVENTS = stream_feed()


def day(ago: int) -> str:
    return f"date={NOW.date() - dt.timedelta(days=ago)}"


def add_days(table: LakeTable, days_ago: Sequence[int], commits: int = 3, first: int = 0) -> None:
    """In each commit two rows a day, of partitions 1 and 0, whose offsets follow those of the commit before."""
    for number in range(first, first + commits):
        rows = []
        for index, ago in enumerate(days_ago):
            offset = number * len(days_ago) + index
            rows += [(TODAY - ago * DAY_MS, partition, offset, f"{partition}-{offset}") for partition in (1, 0)]
        add_rows(table, number, rows)


def compact(root: Path, feed: Feed = EVENTS, goal: Goal = GOAL, number: int = 900, grace_hours: int = 168) -> Compacted:
    done = Compacted(feed.name)
    upkeep = Upkeep(lake_at(root, grace_hours), {"since": NOW.isoformat()}, commit_id(number), NOW, 1)
    compact_feed(upkeep, feed, goal, done)
    return done


def folders(table: LakeTable) -> list[str]:
    return sorted(file.path.partition("/")[0] for file in table.files)


def seen_by(reader: str, root: Path) -> str:
    """A hash of all rows, whatever their order, as one kind of reader sees them."""
    folder = root / "streams" / "events"
    names = ["rowpartition", "rowoffset", "rowtime", "v"]
    if reader == "views":
        with duckdb.connect() as connection:
            connection.execute((root / "views.sql").read_text(encoding="utf-8"))
            rows = connection.sql(f"SELECT {', '.join(names)} FROM events").fetchall()
    elif reader == "deltalake":
        found = deltalake.DeltaTable(folder).to_pyarrow_table(columns=names).to_pylist()
        rows = [tuple(row[name] for name in names) for row in found]
    elif reader == "pandas":
        frames = [pandas.read_parquet(path, columns=names) for path in deltalake.DeltaTable(folder).file_uris()]
        rows = list(pandas.concat(frames).itertuples(index=False, name=None))
    else:
        rows = list(polars.scan_delta(str(folder)).select(names).collect().iter_rows())
    return hashlib.sha256(repr(sorted(tuple(map(str, row)) for row in rows)).encode()).hexdigest()
