"""The records that are kept beside a stream's rows: they are repaired, expire and come back with these."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.damage import find_damage
from pipeline.errors import ClockWentBack, LogDamaged, NothingReturns, RetentionHeld
from pipeline.export.run import ExportRequest, export_feeds
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.lake import Upkeep
from pipeline.lake.retention import Taken, expire_archived, expire_feed, would_expire
from pipeline.lake.unexpire import unexpire_feed
from pipeline.lake.writer import StagedWriter
from pipeline.limits import Limits
from pipeline.progress import Progress
from pipeline.repair import repair_feed
from pipeline.report.text import expired_text, returned_text, would_expire_text
from pipeline.source import Bookmark
from pipeline.unreadable import SCHEMA
from tests.export.test_left_out import KEEPS, a_source, kept
from tests.export.toy_run import a_run, export
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


# --- retention

SHORT = a_feed().model_copy(update={"retention_days": 3})


def expired(root: Path, feed: Feed, now: dt.datetime = NOW, max_share: float = 0.2) -> Taken:
    return expire_feed(upkeep(root, 901, now, max_share), feed)


def test_a_retention_that_was_mistyped_takes_none_of_them_until_a_person_says_so(tmp_path: Path) -> None:
    """Whether it is the rows or the records that are too many."""
    fill(tmp_path / "rows", rows=range(-90, 1), records=[-90, 0, 0, 0, 0, 0])
    fill(tmp_path / "records", rows=[0], records=[-90, -50, -10, 0])

    for name, what in (("rows", "events"), ("records", r"events \(unreadable records\)")):
        with pytest.raises(RetentionHeld, match=f"nothing of {what} expired: .* by the rule 365 days, which is 3 days"):
            expired(tmp_path / name, SHORT)

    assert days(tmp_path / "rows", SHORT.of_unreadable()) == [-90, 0, 0, 0, 0, 0]
    assert days(tmp_path / "records", SHORT.of_unreadable()) == [-90, -50, -10, 0]
    confirmed = expired(tmp_path / "records", SHORT, max_share=1)
    assert (confirmed.partitions, len(confirmed.of_unreadable)) == ([], 3)
    assert days(tmp_path / "records", SHORT.of_unreadable()) == [0]


def test_an_export_waits_for_that_person_too(tmp_path: Path) -> None:
    source, short = a_source(), KEEPS.model_copy(update={"retention_days": 1})
    export(tmp_path, source, KEEPS)
    before, run = kept(tmp_path), replace(a_run(1), max_expire=0.2)

    (result,) = export_feeds(source, lake_at(tmp_path), [short], run, ExportRequest(), {}, lambda _: None)

    assert isinstance(result.error, RetentionHeld)
    assert kept(tmp_path) == before


def test_they_are_as_old_as_the_newest_row_beside_them(tmp_path: Path) -> None:
    """After a long pause new rows came, and no new record."""
    fill(tmp_path, rows=[0], records=[0, 1, 2])
    later = NOW + dt.timedelta(days=400)
    with lake_at(tmp_path).writing(a_feed(), {}) as table:
        add_rows(table, 9, [(TODAY + (400 - n) * DAY_MS, 0, 9 + n, "new") for n in range(9)], now=later)

    assert len(expired(tmp_path, a_feed(), later).of_unreadable) == 3


def test_they_expire_with_an_archived_feed_and_not_once_nobody_keeps_them(tmp_path: Path) -> None:
    fill(tmp_path, rows=[0], records=[0])
    lake, later = lake_at(tmp_path), NOW + dt.timedelta(days=366)
    dropped = a_feed().model_copy(update={"keep_unreadable": False})

    expire_feed(upkeep(tmp_path, 901, later), dropped)
    assert days(tmp_path, a_feed().of_unreadable()) == [0]

    done = expire_archived(Upkeep(lake, {}, commit_id(902), later, 1), [a_feed()], Progress())
    assert [(past.partitions, past.error) for past in done] == [([str(NOW.date())], None)]
    assert days(tmp_path, a_feed().of_unreadable()) == []


def test_what_would_expire_is_said_of_both_and_both_come_back(tmp_path: Path) -> None:
    fill(tmp_path, rows=[-90, 0], records=[-50, 0])

    would = [would_expire_text(found) for found in would_expire(upkeep(tmp_path), SHORT)]
    taken = expired(tmp_path, SHORT, max_share=1)
    back = unexpire_feed(upkeep(tmp_path, 903), a_feed())

    assert would == [
        "events: would expire 2026-08-22 (1 row)",
        "events (unreadable records): would expire 2026-10-01 (1 row)",
    ]
    assert expired_text(a_feed(), taken) == (
        "events: expired 2026-08-22; 0 old files deleted\nevents (unreadable records): expired 2026-10-01"
    )
    assert returned_text(a_feed(), back, "brought back") == (
        "events: brought back 1 row: 2026-08-22\nevents (unreadable records): brought back 1 row: 2026-10-01"
    )
    assert (days(tmp_path, a_feed()), days(tmp_path, a_feed().of_unreadable())) == ([-90, 0], [-50, 0])


def test_records_come_back_where_no_row_expired_and_are_refused_with_what_their_rule_needs(tmp_path: Path) -> None:
    fill(tmp_path, rows=[0], records=[-50, 0])
    expired(tmp_path, SHORT, max_share=1)

    with pytest.raises(NothingReturns, match="the feed's rule would expire them again") as caught:
        unexpire_feed(upkeep(tmp_path, 902), SHORT)
    back = unexpire_feed(upkeep(tmp_path, 903), a_feed())

    assert caught.value.hint == "python manage_feeds.py update events --retention-days 50"
    assert returned_text(a_feed(), back, "brought back") == (
        "events (unreadable records): brought back 1 row: 2026-10-01"
    )
    assert days(tmp_path, a_feed().of_unreadable()) == [-50, 0]
