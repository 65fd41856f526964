"""The log on disk: what a reader can see is whole and there to stay, in that order."""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import deltalake
import pytest

from pipeline.errors import CommitFailed, LakeDamaged, LogDamaged
from pipeline.lake import open_log
from pipeline.lake import table as table_module
from pipeline.lake.delta import TIME_KEY
from pipeline.lake.head import entry_time
from pipeline.lake.local_store import LocalStore
from pipeline.lake.log import entries_due, entry_name, remove_torn_entry, torn_entry
from tests.lake.small_tables import (
    add_rows,
    add_version,
    dying_before_the_entry_has_its_name,
    stream_feed,
    table_feed,
    values,
)
from tests.support import cleaned, folder_of, lake_at


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """(call, path in the lake) of each sync, and of each name that was given, as they happen."""
    seen: list[tuple[str, str]] = []

    def spy(module: object, name: str, path_of: object) -> None:
        real = getattr(module, name)

        def call(*args: object) -> object:
            result = real(*args)
            path = os.path.relpath(path_of(*args), tmp_path)  # type: ignore[operator]
            seen.append((name, re.sub("_staging/log-[^/]+", "_staging/log", path)))
            return result

        monkeypatch.setattr(module, name, call)

    spy(os, "fsync", lambda fd: Path(f"/proc/self/fd/{fd}").readlink())
    spy(os, "link", lambda *names: names[1])
    spy(Path, "rename", lambda *names: names[1])
    yield seen


def in_order(steps: list[tuple[str, str]], *wanted: tuple[str, str]) -> bool:
    rest = iter(steps)
    return all(any(step == want for step in rest) for want in wanted)


def test_an_entry_gets_its_name_when_it_is_on_disk(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    add_rows(lake_at(tmp_path).table(stream_feed()), 1, [(0, 0, 0, "a")])

    log = "streams/events/_delta_log"
    for entry in ("00000000000000000000.json", "00000000000000000001.json"):
        written = ("fsync", f"streams/events/_staging/log/_delta_log/{entry}")
        assert in_order(steps, written, ("link", f"{log}/{entry}"), ("fsync", log))
        assert steps.count(("link", f"{log}/{entry}")) == 1
    assert in_order(steps, ("fsync", "streams/events"), ("link", f"{log}/00000000000000000000.json"))


def test_what_a_killed_run_did_is_made_durable_first(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    add_rows(lake_at(tmp_path).table(stream_feed()), 1, [(0, 0, 0, "a")])
    steps.clear()

    cleaned(tmp_path, stream_feed(), grace_hours=1)

    synced = {path for call, path in steps if call == "fsync"}
    assert {"streams/events/_delta_log", "streams/events", "streams", "."} <= synced


def test_a_run_that_ends_before_the_name_is_given_leaves_the_table_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    with dying_before_the_entry_has_its_name(monkeypatch):
        add_rows(table, 2, [(0, 0, 1, "b")])

    again = cleaned(tmp_path, stream_feed(), grace_hours=1)
    assert values(again) == ["a"]
    assert list(folder_of(again).glob("_staging/*")) == []
    add_rows(again, 3, [(0, 0, 1, "b")])
    assert values(lake_at(tmp_path).table(stream_feed())) == ["a", "b"]


def test_a_commit_of_another_program_in_between_is_never_passed_over(tmp_path: Path) -> None:
    table, now = lake_at(tmp_path).table(stream_feed()), dt.datetime.now(dt.UTC)
    add_rows(table, 1, [(0, 0, 0, "a")])
    deltalake.DeltaTable(folder_of(table)).alter.set_table_properties({"delta.appendOnly": "false"})

    with pytest.raises(CommitFailed, match="another program has committed version 2"):
        add_rows(table, 2, [(0, 0, 1, "b")], now)

    table.refresh()
    add_rows(table, 3, [(0, 0, 1, "c")], now)
    assert values(lake_at(tmp_path).table(stream_feed())) == ["a", "c"]


def test_a_log_folder_without_entries_is_a_table_that_is_not_there_yet(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    (folder_of(table) / "_delta_log").mkdir(parents=True)

    add_rows(table, 1, [(0, 0, 0, "a")])

    assert values(lake_at(tmp_path).table(stream_feed())) == ["a"]


def test_a_checkpoint_is_on_disk_before_readers_are_pointed_to_it(
    tmp_path: Path,
    steps: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 2)
    table = lake_at(tmp_path).table(table_feed())
    for version in range(1, 6):
        add_version(table, version, ["k"] * version)

    assert capsys.readouterr().err == ""
    log, name = "tables/totals/_delta_log", "00000000000000000004.checkpoint.parquet"
    written = ("fsync", f"tables/totals/_staging/log/_delta_log/{name}")
    assert in_order(
        steps, written, ("link", f"{log}/{name}"), ("fsync", log), ("rename", f"{log}/_last_checkpoint"), ("fsync", log)
    )
    for number in range(5):
        (tmp_path / log / f"{number:020}.json").unlink()  # what the checkpoint sums up
    again = lake_at(tmp_path).table(table_feed())
    assert list(again.versions()) == [1, 2, 3, 4, 5]
    assert again.current_version == 5
    add_version(again, 6, ["k"])
    assert len(lake_at(tmp_path).table(table_feed()).files) == 6


@pytest.mark.parametrize("hint", [b"", b"\0\0\0", b'{"version":'])
def test_a_torn_hint_to_the_last_checkpoint_is_passed_over(tmp_path: Path, hint: bytes) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    (folder_of(table) / "_delta_log" / "_last_checkpoint").write_bytes(hint)

    add_rows(table, 2, [(0, 0, 1, "b")])

    assert values(lake_at(tmp_path).table(stream_feed())) == ["a", "b"]


def test_a_commit_stands_although_its_checkpoint_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    with monkeypatch.context() as patched:
        patched.setattr(table_module, "CHECKPOINT_EVERY", 2)
        patched.setattr(open_log, "write_checkpoint", full)
        add_rows(table, 2, [(0, 0, 1, "b")])

    assert "no checkpoint of its log could be written: the disk is full" in capsys.readouterr().err
    assert table.delta_version == 2
    again = cleaned(tmp_path, stream_feed(), grace_hours=1)
    assert values(again) == ["a", "b"]
    assert again.bookmarks() == {0: (2, 0)}


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda entry: entry.write_bytes(entry.read_bytes()[:-40]), "is not whole"),
        (lambda entry: entry.write_bytes(b""), "is not whole"),
        (lambda entry: entry.unlink(), "is missing"),
        (lambda entry: entry.write_bytes(b'{"add": 3}\n'), "is not whole"),
    ],
    ids=["torn", "empty", "gone", "other JSON"],
)
def test_a_damaged_entry_in_the_middle_is_named_and_calls_for_a_person(
    tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    for number in range(3):
        add_rows(table, number, [(0, 0, number, "a")])
    entry = folder_of(table) / "_delta_log" / f"{2:020}.json"
    harm(entry)

    for opening in (lambda root, feed: lake_at(root).table(feed), cleaned):
        with pytest.raises(LakeDamaged) as raised:
            opening(tmp_path, stream_feed())
        assert raised.value.exit_code == 1
        assert "the feed events cannot be read" in raised.value.message
        assert said in raised.value.message
        assert str(entry) in raised.value.message
        assert "\n" not in raised.value.message
        assert "backup" in raised.value.hint


def test_a_damaged_entry_before_the_last_checkpoint_harms_nobody(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    (folder_of(table) / "_delta_log" / f"{1:020}.json").write_bytes(b"")

    assert values(lake_at(tmp_path).table(stream_feed())) == ["a"]


def test_readers_are_told_that_the_next_export_removes_a_torn_last_entry(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    add_rows(table, 2, [(0, 0, 1, "b")])
    entry = folder_of(table) / "_delta_log" / f"{2:020}.json"
    entry.write_bytes(entry.read_bytes()[:-40])

    with pytest.raises(LakeDamaged) as raised:
        lake_at(tmp_path).table(stream_feed())

    assert "the next export of events removes that entry" in raised.value.hint
    assert values(cleaned(tmp_path, stream_feed(), grace_hours=1)) == ["a"]


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        ([b'{"add": {}}'], True),
        ([b'{"add": {}}', b'{"commitInfo": {}}'], True),
        ([], False),
        ([b""], False),
        ([b'{"add": {}}', b'{"commitIn'], False),
        ([b'{"add": {', b'{"commitInfo": {}}'], False),
        ([b'{"add": {}}', b"\0\0\0", b'{"commitInfo": {}}'], False),
        ([b'{"add": {}}', b"\xff\xfe"], False),
    ],
)
def test_an_entry_is_whole_when_each_of_its_lines_can_be_read(tmp_path: Path, lines: list[bytes], whole: bool) -> None:
    log, store = tmp_path / "_delta_log", LocalStore(tmp_path)
    log.mkdir()
    (log / f"{0:020}.json").write_bytes(b"torn, and not the newest")
    newest = log / f"{1:020}.json"
    newest.write_bytes(b"\n".join(lines) + b"\n" * bool(lines))
    (log / "x.json").write_bytes(b"no entry")

    assert torn_entry(store) == (None if whole else entry_name(1))
    assert remove_torn_entry(store) is not whole
    assert newest.exists() is whole


def test_a_log_that_is_lost_beside_snapshots_is_no_new_table(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a"])
    shutil.rmtree(folder_of(table) / "_delta_log")

    with pytest.raises(LogDamaged, match="_delta_log is lost"):
        lake_at(tmp_path).table(table_feed())


def test_readers_need_every_entry_after_the_newest_checkpoint(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert entries_due(store.names("_delta_log")) == []
    entries = [entry_name(number) for number in range(4)]
    for entry in (entries[1], entries[3]):
        store.replace(entry, b"")
    assert entries_due(store.names("_delta_log")) == entries

    store.replace(f"_delta_log/{1:020}.checkpoint.parquet", b"")
    assert entries_due(store.names("_delta_log")) == entries[2:]


def test_an_entry_of_another_program_has_the_time_that_it_tells() -> None:
    second = dt.datetime.fromtimestamp(1, dt.UTC)
    assert entry_time({TIME_KEY: 1000, "timestamp": 9000}) == second
    assert entry_time({"timestamp": 1000}) == second
    assert entry_time({TIME_KEY: 0, "timestamp": 9000}) is None
    assert entry_time({}) is None
