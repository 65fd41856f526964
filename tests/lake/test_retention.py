"""Retention takes what a night makes old, and waits for a person before it takes much more than that."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path

import deltalake
import pytest

from pipeline.errors import RetentionHeld
from pipeline.feeds import Feed
from pipeline.lake.metadata import write_metadata
from pipeline.lake.retention import due, expire
from pipeline.lake.rule import FOR_EVER, Rule
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import DAY_MS, NOW, add_rows, add_version, commit_id, stream_feed, table_feed, values
from tests.support import folder_of, lake_at

TODAY = int(NOW.timestamp() * 1000)
MAX_SHARE = 0.2


def later(days: int) -> dt.datetime:
    return NOW + dt.timedelta(days=days)


def add_days(table: LakeTable, number: int, days: Iterable[int]) -> None:
    """A row for each day, counted from NOW, committed at the last of them."""
    rows = [(TODAY + day * DAY_MS, 0, 1000 * number + index, f"d{day}") for index, day in enumerate(days)]
    add_rows(table, number, rows, now=NOW + dt.timedelta(days=max(0, *days)))


def night(root: Path, feed: Feed, day: int) -> list[str]:
    """The partitions that a run of that day expires."""
    return expire(lake_at(root).table(feed), commit_id(5000 + day), later(day), MAX_SHARE)


def test_a_retention_that_was_mistyped_takes_nothing_until_a_person_says_so(tmp_path: Path) -> None:
    add_days(lake_at(tmp_path).table(stream_feed(retention_days=365)), 1, range(-15, 1))
    mistyped = lake_at(tmp_path).table(stream_feed(retention_days=1))

    for day in range(3):  # it stays refused night after night, though new rows come
        add_days(mistyped, 2 + day, [day, day])
        with pytest.raises(RetentionHeld, match="the rows were kept by the rule 365 days, which is 1 day now") as held:
            night(tmp_path, mistyped.feed, day)
        assert held.value.hint == "if they are to go: python metadata_utils.py expire events --yes"
    assert len(values(lake_at(tmp_path).table(mistyped.feed))) == 16 + 6

    confirmed = lake_at(tmp_path).table(mistyped.feed)
    assert len(expire(confirmed, commit_id(99), later(2), max_share=1)) == 16
    assert confirmed.rule == Rule(1, FOR_EVER)
    add_days(confirmed, 6, [3, 3])
    assert night(tmp_path, mistyped.feed, 3) == ["2026-11-21"]


def forget_rule(table: LakeTable) -> None:
    """Makes the log one from before it remembered the rule by which rows are kept."""
    for entry in (folder_of(table) / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        kept = [action for action in actions if not action.get("txn", {}).get("appId", "").startswith("retention-")]
        entry.write_text("".join(json.dumps(action) + "\n" for action in kept))


def test_an_older_lake_knows_the_rule_before_a_mistyped_one_from_its_metadata(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed(retention_days=365))
    add_days(table, 1, range(-11, 1))
    forget_rule(table)
    table.refresh()
    write_metadata(table)
    mistyped = stream_feed(retention_days=1)

    for day in range(2):  # no new rows come, and the metadata is written again
        with pytest.raises(RetentionHeld, match="kept by the rule 365 days"):
            night(tmp_path, mistyped, day)
        write_metadata(lake_at(tmp_path).table(mistyped))

    assert len(values(lake_at(tmp_path).table(mistyped))) == 12


@pytest.mark.parametrize("exports_first", [False, True])
def test_an_older_lake_shows_the_rule_of_its_rows_when_a_failed_run_has_written_its_metadata_again(
    tmp_path: Path, exports_first: bool
) -> None:
    tables = [
        lake_at(tmp_path).table(stream_feed(retention_days=365)),
        lake_at(tmp_path).table(table_feed(retention_versions=7)),
    ]
    add_days(tables[0], 1, range(-15, 1))
    for version in range(1, 8):
        add_version(tables[1], version, ["a", "b"])
    stream, table = stream_feed(retention_days=1), table_feed(retention_versions=1)
    for kept, feed in zip(tables, (stream, table), strict=True):
        forget_rule(kept)
        write_metadata(lake_at(tmp_path).table(feed))
    if exports_first:
        add_days(lake_at(tmp_path).table(stream), 2, [1])
        add_version(lake_at(tmp_path).table(table), 8, ["a", "b"], now=later(1))

    for feed, rule in ((stream, "15 days, which is 1 day"), (table, "7 versions, which is 1 version")):
        with pytest.raises(RetentionHeld, match=f"kept by the rule .*{rule} now"):
            night(tmp_path, feed, 1)


def test_a_lake_that_remembers_no_rule_at_all_goes_on_by_its_feed(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed(retention_days=5))
    add_days(table, 1, range(-5, 1))
    forget_rule(table)

    assert night(tmp_path, table.feed, 1) == ["2026-11-15"]
    assert lake_at(tmp_path).table(table.feed).rule_in_log == Rule(5, FOR_EVER)


def test_a_mistyped_retention_takes_nothing_of_a_history_that_came_in_at_once(tmp_path: Path) -> None:
    """All of it was added in one run, so its age in the lake says nothing."""
    table = lake_at(tmp_path).table(stream_feed(retention_days=365))
    add_days(table, 1, range(-300, 1, 10))

    with pytest.raises(RetentionHeld):
        night(tmp_path, stream_feed(retention_days=30), 0)


@pytest.mark.parametrize("days_ahead", [400, 730, 30_000])
def test_a_clock_that_jumped_takes_nothing(tmp_path: Path, days_ahead: int) -> None:
    feed = stream_feed(retention_days=365)
    add_days(lake_at(tmp_path).table(feed), 1, range(-200, 1, 10))

    with pytest.raises(RetentionHeld, match="is the clock of this machine right"):
        night(tmp_path, feed, days_ahead)
    assert len(values(lake_at(tmp_path).table(feed))) == 21


def test_a_clock_that_jumped_takes_nothing_of_what_that_very_run_read_either(tmp_path: Path) -> None:
    feed = stream_feed(retention_days=365)
    table = lake_at(tmp_path).table(feed)
    add_rows(table, 1, [(TODAY - day * DAY_MS, 0, day, "v") for day in range(9)], now=later(1500))

    with pytest.raises(RetentionHeld):
        expire(table, commit_id(2), later(1500), MAX_SHARE)


@pytest.mark.parametrize(("keep", "pause"), [(1, 1), (2, 7), (9, 2), (10, 9)])
def test_no_night_of_a_stream_is_held_back(tmp_path: Path, keep: int, pause: int) -> None:
    """Rows of each day, exported every `pause` days, from the first run until long after the first expiry."""
    feed = stream_feed(retention_days=keep)
    for number, day in enumerate(range(0, 2 * keep + 3 * pause, pause)):
        table = lake_at(tmp_path).table(feed)
        add_days(table, 1 + number, range(day - pause + 1, day + 1))
        expire(table, commit_id(5000 + day), later(day), MAX_SHARE)
    assert len({file.partition for file in lake_at(tmp_path).table(feed).files}) <= keep + 1


@pytest.mark.parametrize("keep", [1, 2, 6])
def test_no_night_of_a_stream_that_has_dried_up_is_held_back(tmp_path: Path, keep: int) -> None:
    feed = stream_feed(retention_days=keep)
    add_days(lake_at(tmp_path).table(feed), 1, range(-keep, 1))
    for day in range(keep + 3):
        night(tmp_path, feed, day)
    assert lake_at(tmp_path).table(feed).files == ()


def test_the_first_load_of_a_long_topic_is_not_held_back_though_it_was_killed_half_way(tmp_path: Path) -> None:
    feed = stream_feed(retention_days=100)
    add_days(lake_at(tmp_path).table(feed), 1, range(-700, -300, 10))  # committed, and killed before anything expired
    add_days(lake_at(tmp_path).table(feed), 2, range(-300, 2, 10))

    assert len(night(tmp_path, feed, 1)) == 61


def test_rows_of_the_future_do_not_lift_the_brake(tmp_path: Path) -> None:
    add_days(lake_at(tmp_path).table(stream_feed(retention_days=30)), 1, [*range(-9, 1), 4000])

    with pytest.raises(RetentionHeld):
        expire(lake_at(tmp_path).table(stream_feed(retention_days=1)), commit_id(9), later(0), MAX_SHARE)


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_no_night_of_a_table_is_held_back(tmp_path: Path, keep: int) -> None:
    feed = table_feed(retention_versions=keep)
    for version in range(1, 2 * keep + 3):
        add_version(lake_at(tmp_path).table(feed), version, ["k"] * version, days=version)
        if version != keep + 1:  # one run was killed before it expired anything
            night(tmp_path, feed, version)
    assert len(lake_at(tmp_path).table(feed).versions()) == keep


@pytest.mark.parametrize("keep", [1, 2, 6])
def test_no_night_of_a_table_that_is_kept_by_days_is_held_back(tmp_path: Path, keep: int) -> None:
    feed = table_feed(retention_days=keep)
    for number, day in enumerate([*range(keep + 4), keep + 10]):
        table = lake_at(tmp_path).table(feed)
        add_version(table, number + 1, ["k"], days=day)
        expire(table, commit_id(5000 + day), later(day), MAX_SHARE)
    assert len(lake_at(tmp_path).table(feed).versions()) <= keep + 1


def test_fewer_versions_wait_for_a_person(tmp_path: Path) -> None:
    for version in range(1, 8):
        add_version(lake_at(tmp_path).table(table_feed(retention_versions=7)), version, ["a"])

    with pytest.raises(RetentionHeld, match="kept by the rule 7 versions, which is 1 version now"):
        night(tmp_path, table_feed(retention_versions=1), 1)
    assert night(tmp_path, table_feed(retention_versions=6), 1) == ["1"]


def test_a_shorter_rule_that_takes_nothing_yet_is_the_rule_from_then_on(tmp_path: Path) -> None:
    add_days(lake_at(tmp_path).table(stream_feed(retention_days=30)), 1, [-1, 0])
    shorter = stream_feed(retention_days=2)

    assert night(tmp_path, shorter, 0) == []
    add_days(lake_at(tmp_path).table(shorter), 2, [1])
    assert night(tmp_path, shorter, 1) == []
    add_days(lake_at(tmp_path).table(shorter), 3, [2])
    assert night(tmp_path, shorter, 2) == ["2026-11-19"]


def test_a_lake_from_before_the_rule_was_remembered_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = stream_feed(retention_days=2)
    with monkeypatch.context() as before:
        before.setattr(Rule, "transactions", lambda _: {})
        add_days(lake_at(tmp_path).table(feed), 1, [-2, -1, 0])
    assert lake_at(tmp_path).table(feed).rule_in_log is None

    add_days(lake_at(tmp_path).table(feed), 2, [1])
    assert night(tmp_path, feed, 1) == ["2026-11-18"]
    assert lake_at(tmp_path).table(feed).rule == Rule(2, FOR_EVER)


def test_the_rule_survives_a_checkpoint_and_the_clean_up_of_the_log(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed(retention_days=365))
    add_days(table, 1, range(-15, 1))
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    for entry in (folder_of(table) / "_delta_log").glob("*.json"):
        if not entry.name.startswith(f"{table.delta_version:020}"):
            entry.unlink()

    with pytest.raises(RetentionHeld):
        night(tmp_path, stream_feed(retention_days=1), 0)


def test_a_retention_beyond_the_calendar_takes_nothing(tmp_path: Path) -> None:
    feed = stream_feed().model_copy(update={"retention_days": 999_999})
    add_days(lake_at(tmp_path).table(feed), 1, [-300_000, 0])

    assert due(lake_at(tmp_path).table(feed), NOW).files == []
