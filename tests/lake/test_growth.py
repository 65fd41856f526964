"""What a run costs follows what is new: what is old is not read, not listed and not kept for ever."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
import pytest

from pipeline.lake import checkpoint, files, open_log
from pipeline.lake import lake as lake_module
from pipeline.lake import table as table_module
from pipeline.lake.change import Change
from pipeline.lake.files import DataFile
from pipeline.lake.log import checkpoints, entry_name, entry_numbers
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import find_expired
from tests.lake.hourly_runs import FEED, HOUR, run
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    add_rows,
    add_version,
    commit_id,
    days_of_which_one_can_be_read,
    dying_before_the_entry_has_its_name,
    glob,
    stream_feed,
    table_feed,
    values,
)
from tests.support import folder_of, lake_at


def log_names(table: LakeTable) -> list[str]:
    return [path.name for path in (folder_of(table) / "_delta_log").iterdir()]


def test_a_run_that_commits_nothing_reads_no_list_of_files_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    lake_at(tmp_path).feeds.add(table_feed())
    table = run(tmp_path, 1)
    written = [tmp_path / "views.sql", folder_of(table) / "_metadata.json", folder_of(table) / "_moving.json"]
    before = [(path.read_bytes(), path.stat().st_ino) for path in written]

    def refuse(*_: object) -> None:
        raise AssertionError("the list of files is read")

    with monkeypatch.context() as patched:
        patched.setattr(open_log, "committed_files", refuse)
        run(tmp_path, 2, commits=False)

    assert [(path.read_bytes(), path.stat().st_ino) for path in written] == before
    assert "_delta_log/" not in str(sorted(folder_of(table).glob("_staging/**")))


def test_a_run_looks_through_the_folders_of_all_days_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    folder, looked_through = folder_of(run(tmp_path, 1)), list[str]()
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": looked_through.append(str(path)) or scan(path))

    run(tmp_path, 2)

    assert looked_through.count(str(folder)) == 1


def test_rows_are_found_by_a_look_at_their_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    for number in range(1, 8):
        table = run(tmp_path, number)
    looked_at = []
    monkeypatch.setattr(table_module, "newest_files", lambda *_: None)  # as where the entries are dropped
    monkeypatch.setattr(files, "DataFile", lambda path, *rest: looked_at.append(path) or DataFile(path, *rest))

    found = table.files_with(0, 5, 6)

    assert [file.bounds["rowoffset"] for file in found] == [(6, 6), (5, 5)]
    assert looked_at == [file.path for file in found]
    assert table.files_with(1, 5, 6) == ()


@pytest.mark.parametrize("lost", ["views.sql", "streams/events/_metadata.json"])
def test_what_is_lost_of_the_descriptions_the_next_run_writes_again(tmp_path: Path, lost: str) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    run(tmp_path, 1)
    before = (tmp_path / lost).read_bytes()
    (tmp_path / lost).unlink()

    run(tmp_path, 2, commits=False)

    assert (tmp_path / lost).read_bytes() == before


def test_a_feeds_run_opens_no_other_feeds_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    lake_at(tmp_path).feeds.add(table_feed())
    totals = lake_at(tmp_path).table(table_feed())
    add_version(totals, 1, ["a"])
    run(tmp_path, 1)
    shutil.rmtree(folder_of(totals) / "_delta_log")

    run(tmp_path, 2)

    assert capsys.readouterr().err == ""
    with duckdb.connect() as connection:
        connection.execute((tmp_path / "views.sql").read_text(encoding="utf-8"))
        assert connection.sql("SELECT count(*) FROM events").fetchall() == [(2,)]
        assert connection.sql("SELECT count(*) FROM totals_current").fetchall() == [(1,)]


@pytest.mark.parametrize("step", ["write_views", "write_metadata"])
def test_what_a_killed_run_did_not_describe_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    run(tmp_path, 1)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lake_module, step, die)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 2)
    table = run(tmp_path, 3, commits=False)

    (file,) = [file for file in table.files if "0002-" in file.path]
    assert file.path in (tmp_path / "views.sql").read_text(encoding="utf-8")
    assert '"rows": 2' in (folder_of(table) / "_metadata.json").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_log_keeps_what_readers_need_and_every_bookmark_and_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 3)
    for number in range(20):
        table = run(tmp_path, 6 * number, grace_hours=24)
    reader = deltalake.DeltaTable(folder_of(table))
    for number in range(20, 24):
        table = run(tmp_path, 6 * number, grace_hours=24)

    sums, entries = checkpoints(log_names(table)), sorted(entry_numbers(log_names(table)))
    assert sums[-1] == 24
    assert len(sums) < 6
    # By the run before it was 24 hours after version 19: every version from there on can be read.
    assert 0 < entries[0] == sums[0] <= 19
    assert entries == list(range(entries[0], 25))
    assert len(table.files_at(19)) == 19
    again = lake_at(tmp_path).table(FEED)
    assert again.bookmarks() == {0: (139, int((NOW + 138 * HOUR).timestamp() * 1000))}
    assert [entry["version"] for entry in again.history()] == list(range(24, -1, -1))
    assert {entry["pipeline"]["kind"] for entry in again.history()} == {"create table", "stream"}
    reader.update_incremental()
    assert reader.version() == 24
    assert values(again) == sorted(f"v{6 * number}" for number in range(24))


def test_an_expiry_is_passed_over_whose_version_can_no_longer_be_read(tmp_path: Path) -> None:
    feed = table_feed(retention_versions=1)
    table = lake_at(tmp_path).table(feed)
    for version in (1, 2, 3):
        add_version(table, version, ["a"])
        expire(table, commit_id(version + 10), NOW, max_share=1)
    newest = table.delta_version
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    checkpoint._keep_history(table.store, range(newest))
    table.store.delete(*(entry_name(version) for version in range(newest)))

    table.refresh()
    found = find_expired(table, NOW, grace_hours=24)

    kinds = [entry["pipeline"]["kind"] for entry in table.history()]
    assert kinds.count("expire") == 2
    assert found.files == []


def test_one_run_in_the_far_future_drops_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 2)
    for number in range(9):
        table = run(tmp_path, number)
    before = set(log_names(table))

    run(tmp_path, 20 * 24)

    assert before <= set(log_names(table))


def test_a_checkpoint_says_what_the_librarys_own_says_in_less_than_half_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 1)
    with lake_at(tmp_path).writing(FEED, {}) as table:
        add_rows(table, 1, [(day * DAY_MS, 0, day, f"v{day}") for day in range(200)])  # a file for each day
    name = f"{1:020}.checkpoint.parquet"
    ours = (folder_of(table) / "_delta_log" / name).stat().st_size
    by_ours = sorted(deltalake.DeltaTable(folder_of(table)).file_uris())

    shutil.copytree(folder_of(table), tmp_path / "copy")
    (tmp_path / "copy" / "_delta_log" / name).unlink()
    (tmp_path / "copy" / "_delta_log" / "_last_checkpoint").unlink()
    theirs = deltalake.DeltaTable(tmp_path / "copy")
    theirs.create_checkpoint()

    assert [Path(uri).name for uri in by_ours] == sorted(Path(uri).name for uri in theirs.file_uris())
    assert 2 * ours < (tmp_path / "copy" / "_delta_log" / name).stat().st_size


def test_a_question_about_one_day_opens_one_days_files_and_the_views_none(tmp_path: Path) -> None:
    days_of_which_one_can_be_read(tmp_path, days=20, readable=7)

    with duckdb.connect() as connection:
        connection.execute((tmp_path / "views.sql").read_text(encoding="utf-8"))
        for where in ("date = '1970-01-08'", "date BETWEEN DATE '1970-01-08' AND '1970-01-08' AND v <> ''"):
            assert connection.sql(f"SELECT v FROM events WHERE {where}").fetchall() == [("v7",)]
        with pytest.raises(duckdb.Error):
            connection.sql("SELECT v FROM events WHERE date >= '1970-01-08'").fetchall()


def test_columns_with_the_names_that_a_view_needs_itself_are_shown(tmp_path: Path) -> None:
    schema = SCHEMA
    for name in ("filename", "FILENAME_", "path", 'it\'s "quoted"'):
        schema = schema.append(pa.field(name, pa.string()))
    lake_at(tmp_path).feeds.add(stream_feed())
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    table.match_schema(schema)

    with duckdb.connect() as connection:
        connection.execute(lake_at(tmp_path).write_views())
        seen = connection.sql("SELECT * FROM events")
        assert seen.columns == [*schema.names, "date"]
        assert seen.fetchall() == [(0, 0, 0, "a", None, None, None, None, dt.date(1970, 1, 1))]


@pytest.mark.parametrize("lost", ["nothing", "the note", "a commit of the log"])
def test_files_that_a_killed_run_moved_are_found_where_it_noted_them_or_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    table = run(tmp_path, 1)
    note = folder_of(table) / "_moving.json"
    with dying_before_the_entry_has_its_name(monkeypatch):
        run(tmp_path, 40)
    assert len(glob(table)) == 2
    if lost == "the note":
        note.unlink()
    if lost == "a commit of the log":  # restored from an older backup: what is of the lost commits is anywhere
        run(tmp_path, 60)
        run(tmp_path, 90)
        for number in (2, 3):
            (folder_of(table) / "_delta_log" / f"{number:020}.json").unlink()

    run(tmp_path, 90, commits=False)

    assert len(glob(table)) == 1
    if lost == "the note":
        assert note.exists()


def test_expired_files_are_found_by_the_log_without_a_look_at_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, 1)
    with lake_at(tmp_path, 1).writing(FEED, {"since": f"{NOW + HOUR:%Y-%m-%dT%H:%M:%SZ}"}) as table:
        table.commit(commit_id(2), Change(removes=table.files), NOW + HOUR)
    monkeypatch.setattr("pipeline.lake.leftovers.files_on_disk", None)
    for number in (3, 4):
        run(tmp_path, number, commits=False, grace_hours=1)

    assert glob(table) == []
