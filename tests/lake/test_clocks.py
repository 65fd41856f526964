"""Clocks that jump, in both directions: no commit is before the newest one, and none of them deletes what is needed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from annotated_types import Le

from data_lake_config import Settings
from pipeline.errors import ClockWentBack
from pipeline.lake import table as table_module
from pipeline.lake.change import Change
from pipeline.lake.delta import KEEP_LOG
from pipeline.lake.local_store import LocalStore
from pipeline.lake.log import entry_name, removed_files
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import NOW, TABLE, add_rows, add_version, commit_id, stream_feed, table_feed
from tests.support import folder_of, lake_at

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


def run(root: Path, now: dt.datetime, grace_hours: int = 24, keep: int | None = None) -> LakeTable:
    """A run at `now` by its clock: it cleans, adds a version, and expires all but the newest `keep` versions."""
    with lake_at(root, grace_hours).writing(table_feed(), {"since": f"{now:%Y-%m-%dT%H:%M:%SZ}"}) as table:
        version = max(table.versions(), default=0) + 1
        add_version(table, version, ["a"] * version, now=now)
        if keep is not None:
            old = [file for files in list(table.versions().values())[:-keep] for file in files]
            table.commit(commit_id(version + 500), Change(removes=old), now)
        table.remove_orphans(grace_hours)
    return table


def on_disk(table: LakeTable) -> int:
    return len(list(folder_of(table).glob("version=*/*.parquet")))


def test_a_clock_that_is_a_little_behind_goes_on_from_the_newest_commit(tmp_path: Path) -> None:
    run(tmp_path, NOW)
    table = run(tmp_path, NOW - 23 * HOUR)

    assert table.newest_at == NOW
    assert max(file.added_at for file in table.files) == NOW
    assert run(tmp_path, NOW + HOUR).newest_at == NOW + HOUR


def test_a_clock_that_is_more_than_a_day_behind_is_refused_with_both_times(tmp_path: Path) -> None:
    run(tmp_path, NOW)
    before = run(tmp_path, NOW).delta_version

    with pytest.raises(ClockWentBack, match=r"2026-11-20 06:00:00 UTC.*2026-11-19 05:00:00 UTC") as raised:
        run(tmp_path, NOW - 25 * HOUR)

    assert raised.value.exit_code == 1
    assert "python metadata_utils.py repair totals" in raised.value.hint
    assert lake_at(tmp_path).table(table_feed()).delta_version == before


def test_no_commit_is_made_with_a_clock_that_went_back_in_the_middle_of_a_run(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a"], now=NOW)

    with pytest.raises(ClockWentBack):
        table.commit(commit_id(2), Change(), NOW - 2 * DAY)

    assert lake_at(tmp_path).table(table_feed()).delta_version == table.delta_version == 1


def test_a_person_can_say_that_the_old_clock_was_wrong(tmp_path: Path) -> None:
    run(tmp_path, NOW + 900 * DAY)
    lake_at(tmp_path).table(table_feed()).accept_clock(commit_id(9), NOW)

    table = run(tmp_path, NOW + HOUR)

    assert list(table.versions()) == [1, 2]
    assert table.newest_at == NOW + HOUR
    kinds = [entry["pipeline"]["kind"] for entry in table.history()]
    assert "clock accepted" in kinds


@pytest.mark.parametrize("ahead", [dt.timedelta(minutes=5), 23 * HOUR])
def test_what_a_run_ahead_of_time_expired_waits_like_all_else(tmp_path: Path, ahead: dt.timedelta) -> None:
    """Its time is still to come for the next run, whose clock is right."""
    run(tmp_path, NOW)
    table = run(tmp_path, NOW + ahead, keep=1)
    assert (len(table.files), on_disk(table)) == (1, 2)

    for hours in range(0, 24, 6):
        assert on_disk(run(tmp_path, NOW + hours * HOUR)) > len(lake_at(tmp_path).table(table_feed()).files)


def test_one_run_in_the_far_future_deletes_nothing(tmp_path: Path) -> None:
    for number in range(4):
        run(tmp_path, NOW + number * HOUR)
    run(tmp_path, NOW + 4 * HOUR, keep=3)

    table = run(tmp_path, NOW + 1500 * DAY, keep=1)

    assert (len(table.files), on_disk(table)) == (1, 6)


def test_a_nightly_run_deletes_what_is_past_its_grace_a_night_later(tmp_path: Path) -> None:
    run(tmp_path, NOW)
    run(tmp_path, NOW + DAY, keep=1)

    left = [on_disk(run(tmp_path, NOW + night * DAY)) - (night + 1) for night in range(2, 5)]

    assert left == [0, -1, -1]


def test_runs_that_commit_nothing_are_seen_as_well(tmp_path: Path) -> None:
    """Else a feed that gets no rows any more would keep its expired files for ever."""
    run(tmp_path, NOW)
    table = run(tmp_path, NOW, keep=1)
    assert on_disk(table) == 2

    for night in (1, 2):
        now = NOW + night * DAY + HOUR
        with lake_at(tmp_path, 24).writing(table_feed(), {"since": f"{now:%Y-%m-%dT%H:%M:%SZ}"}):
            pass
        assert on_disk(table) == (2 if night == 1 else 1)


@pytest.mark.parametrize("entry", ["its first", "a later one", "new columns"])
def test_a_checkpoint_after_a_jump_forgets_no_file_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """Whichever entry of the run the checkpoint would be of."""
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 5 if entry == "a later one" else 4)
    run(tmp_path, NOW)
    table = run(tmp_path, NOW + HOUR, keep=1)
    assert table.delta_version == 3

    if entry == "new columns":
        since = {"since": f"{NOW + 1500 * DAY:%Y-%m-%dT%H:%M:%SZ}"}
        with lake_at(tmp_path, 24).writing(table_feed(), since) as table:
            table.match_schema(TABLE.append(pa.field("new", pa.string())))
    else:
        table = run(tmp_path, NOW + 1500 * DAY, keep=9)

    assert table.delta_version >= table_module.CHECKPOINT_EVERY
    assert not list((folder_of(table) / "_delta_log").glob("*.checkpoint.parquet"))
    assert len(removed_files(table.store)) == 1


def test_runs_that_are_a_month_apart_write_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 3)
    for month in range(4):
        table = run(tmp_path, NOW + 31 * month * DAY)

    assert [path.name[:20] for path in (folder_of(table) / "_delta_log").glob("*.checkpoint.parquet")] == [f"{3:020}"]


def test_the_longest_grace_period_is_over_before_a_checkpoint_forgets_the_file() -> None:
    number, unit = KEEP_LOG["delta.deletedFileRetentionDuration"].removeprefix("interval ").split()
    (hours,) = [limit.le for limit in Settings.model_fields["expire_grace_hours"].metadata if isinstance(limit, Le)]

    assert unit == "days"
    assert hours * HOUR < int(number) * DAY


def test_files_that_were_removed_are_known_from_a_checkpoint_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 3)
    now = dt.datetime.now(dt.UTC)
    run(tmp_path, now)
    table = run(tmp_path, now + HOUR, keep=1)
    assert list((folder_of(table) / "_delta_log").glob("*.checkpoint.parquet"))
    for number in range(3):
        (folder_of(table) / "_delta_log" / f"{number:020}.json").unlink()

    assert list(removed_files(table.store).values()) == [int((now + HOUR).timestamp() * 1000)]
    assert on_disk(run(tmp_path, now + 2 * HOUR)) == 3


def test_the_grace_period_is_over_by_the_newest_commit_where_no_run_has_left_its_time(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    table.commit(commit_id(2), Change(removes=table.files), NOW)
    assert table.remove_orphans(grace_hours=1) == 0

    table.commit(commit_id(3), Change(), NOW + dt.timedelta(hours=2))

    assert lake_at(tmp_path).table(stream_feed()).remove_orphans(grace_hours=1) == 1


def test_a_checkpoint_looks_for_no_removed_file_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(table_feed())
    removed = []
    for number in (1, 2):
        add_version(table, number, ["a"])
        (file,) = table.files
        table.commit(commit_id(10 + number), Change(removes=[file]), NOW + number * HOUR)
        (folder_of(table) / file.path).unlink()
        removed.append(file.path)
    looked_for, size = list[str](), LocalStore.size
    monkeypatch.setattr(LocalStore, "size", lambda store, path: looked_for.append(path) or size(store, path))

    table._log.sum_up(NOW + 4 * HOUR, keep=3 * HOUR)

    assert [path for path in looked_for if path.endswith(".parquet")] == removed[:1]
    for number in range(table.delta_version + 1):
        table.store.delete(entry_name(number))
    assert list(removed_files(table.store)) == removed[1:]
