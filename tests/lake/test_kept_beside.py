"""The records that are kept beside a stream's rows: they are repaired, expire and come back with these."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.damage import find_damage
from pipeline.errors import ClockWentBack, LogDamaged
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.lake import Upkeep
from pipeline.lake.writer import StagedWriter
from pipeline.limits import Limits
from pipeline.repair import repair_feed
from pipeline.source import Bookmark
from pipeline.unreadable import SCHEMA
from tests.lake.small_tables import DAY_MS, NOW, add_rows, commit_id, stream_feed
from tests.support import lake_at

TODAY = int(NOW.timestamp() * 1000)


def a_feed(**fields: Any) -> Feed:
    return stream_feed(keep_unreadable=True, retention_days=365, **fields)


def fill(root: Path, rows: Iterable[int] = (0,), records: Iterable[int] = (0,), now: dt.datetime = NOW) -> None:
    """A row, and a record that is none, for each of these days, counted from NOW."""
    lake = lake_at(root)
    with lake.writing(a_feed(), {}) as table, lake.writing(a_feed().of_unreadable(), {}) as kept:
        for number, day in enumerate(records):
            add_record(kept, number, day, now)
        for number, day in enumerate(rows):
            add_rows(table, number, [(TODAY + day * DAY_MS, 0, number, f"d{day}")])


def add_record(kept: Any, number: int, day: int, now: dt.datetime = NOW) -> None:
    if not kept.exists:
        kept.create(SCHEMA, "topic")
    writer = StagedWriter(kept.staging_folder(commit_id(number)), SCHEMA, date_column="rowtime")
    row = {"rowtime": TODAY + day * DAY_MS, "rowpartition": 0, "rowoffset": number, "reason": "no JSON"}
    writer.add(pa.RecordBatch.from_pylist([row], schema=SCHEMA))
    change = Change(writer.finish(), bookmarks={0: Bookmark(number + 1)}, partitions=1, note={"kind": "unreadable"})
    kept.commit(commit_id(number), change, now)


def days(root: Path, feed: Feed) -> list[int]:
    table = lake_at(root).table(feed)
    times = [row["rowtime"] for batch in table.read_batches(table.files) for row in batch.to_pylist()]
    return sorted((time - TODAY) // DAY_MS for time in times)


def upkeep(root: Path, number: int = 900, now: dt.datetime = NOW, max_share: float = 1) -> Upkeep:
    return Upkeep(lake_at(root), {}, commit_id(number), now, max_share)


def repaired(root: Path) -> list[str]:
    return repair_feed(upkeep(root), a_feed(), None, Limits())


def test_records_of_a_clock_that_was_ahead_are_found_and_accepted(tmp_path: Path) -> None:
    """A run of that clock was killed between their commit and that of the rows."""
    fill(tmp_path, records=[], now=NOW)
    lake, ahead = lake_at(tmp_path), NOW + dt.timedelta(days=365)
    with lake.writing(a_feed().of_unreadable(), {}) as kept:
        add_record(kept, 1, 0, now=ahead)

    found = find_damage(lake, a_feed(), NOW)

    assert isinstance(found.clock, ClockWentBack)
    assert "would go on from this machine's clock" in "".join(found.lines())
    assert repaired(tmp_path) == ["goes on from this machine's clock"]
    assert not find_damage(lake, a_feed(), NOW).found
    with lake.writing(a_feed().of_unreadable(), {"since": NOW.isoformat()}) as kept:
        add_record(kept, 2, 0)


@pytest.mark.parametrize("ahead", [False, True], ids=["", "and the rows are of a clock that was ahead"])
def test_a_torn_entry_of_their_log_is_found_and_removed(tmp_path: Path, ahead: bool) -> None:
    fill(tmp_path, rows=[] if ahead else [0])
    if ahead:
        with lake_at(tmp_path).writing(a_feed(), {}) as table:
            add_rows(table, 1, [(TODAY, 0, 0, "a")], now=NOW + dt.timedelta(days=365))
    torn = tmp_path / "unreadable" / "events" / "_delta_log" / f"{2:020}.json"
    torn.write_bytes(b'{"add":')

    found = find_damage(lake_at(tmp_path), a_feed(), NOW)

    assert (found.torn, found.clock is not None) == (str(torn), ahead)
    assert repaired(tmp_path)[-1] == f"removed {torn}"
    assert not find_damage(lake_at(tmp_path), a_feed(), NOW).found
    assert days(tmp_path, a_feed().of_unreadable()) == [0]


def test_a_log_of_theirs_that_is_lost_costs_nothing_but_them(tmp_path: Path) -> None:
    fill(tmp_path)
    folder = tmp_path / "unreadable" / "events"
    for entry in (folder / "_delta_log").iterdir():
        entry.unlink()

    with pytest.raises(LogDamaged) as caught:
        find_damage(lake_at(tmp_path), a_feed(), NOW)

    assert f"move {folder} to another place" in caught.value.hint
    folder.rename(tmp_path / "elsewhere")
    assert not find_damage(lake_at(tmp_path), a_feed(), NOW).found
