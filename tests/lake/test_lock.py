"""One writer a feed, and a lock file that somebody removes under it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import FeedLocked, FeedLost, LakeDamaged
from pipeline.lake import lock
from pipeline.lake.change import Change
from pipeline.lake.leftovers import note_moves
from pipeline.lake.local_store import LocalStore
from pipeline.lake.lock import hold_feed
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from tests.lake.small_tables import NOW, SCHEMA, add_rows, commit_id, glob, stream_feed, values
from tests.support import ROOT, folder_of, lake_at

FEED = stream_feed()
_HOLD = """
import sys; from pathlib import Path; from pipeline.lake.lock import hold_feed
with hold_feed(Path(sys.argv[1]), 'events', {'command': 'first'}):
    print('held', flush=True); sys.stdin.readline()
"""


@contextlib.contextmanager
def another_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the feed until it gets a line, or until the end."""
    command = [sys.executable, "-c", _HOLD, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def moved_file(table: LakeTable, name: str) -> Path:
    """A data file of a commit that is under way."""
    writer = StagedWriter(table.staging_folder(name), SCHEMA, date_column="rowtime")
    writer.add(pa.RecordBatch.from_pylist([{"rowtime": 0, "v": "moved"}], schema=SCHEMA))
    (staged,) = writer.finish()
    moved = folder_of(table) / "date=1970-01-01" / f"{commit_id(2)}-00000-{staged.checksum}.parquet"
    note_moves(table.store, 2, commit_id(2), [str(moved.relative_to(folder_of(table)))])
    moved.write_bytes(staged.path.read_bytes())
    return moved


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    table = lake_at(tmp_path).table(FEED)
    add_rows(table, 1, [(0, 0, 0, "a")])
    return table


@pytest.mark.parametrize("harm", ["removed", "replaced"])
def test_a_second_run_does_not_begin_while_the_first_one_lives(table: LakeTable, harm: str) -> None:
    with another_run(folder_of(table)):
        (folder_of(table) / "_lock").unlink()
        if harm == "replaced":
            (folder_of(table) / "_lock").touch()

        with pytest.raises(FeedLocked, match=r"held by another run \(command first\)"):
            hold_feed(folder_of(table), "events", {"command": "second"}).__enter__()

    with hold_feed(folder_of(table), "events", {}) as hold:  # it has died
        assert hold.kept_from == float("inf")


def test_a_killed_run_that_nobody_has_waited_for_keeps_nobody_out(tmp_path: Path) -> None:
    """In a container whose first process waits for none, a killed process stays in the list of processes."""
    with another_run(tmp_path) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        with hold_feed(tmp_path, "events", {"command": "second"}) as hold:
            assert hold.before is not None
            assert (str(hold.before), hold.before.is_alive) == ("command first", False)
            assert hold.kept_from == float("inf")


@pytest.mark.parametrize("harm", ["removed", "replaced"])
def test_a_run_whose_lock_was_taken_away_commits_nothing(table: LakeTable, tmp_path: Path, harm: str) -> None:
    with hold_feed(folder_of(table), "events", {}):
        (folder_of(table) / "_lock").unlink()
        if harm == "replaced":
            (folder_of(table) / "_lock").touch()
        with pytest.raises(FeedLost, match="nothing was committed") as raised:
            add_rows(table, 2, [(0, 0, 1, "b")])

    assert raised.value.exit_code == 75
    with hold_feed(folder_of(table), "events", {}):
        pass
    assert values(lake_at(tmp_path).table(FEED)) == ["a"]


@pytest.mark.parametrize("long_enough", [False, True])
def test_what_may_be_of_a_run_on_another_machine_is_deleted_when_it_is_old(
    table: LakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_enough: bool
) -> None:
    """Of such a run nobody can know whether it lives. A day later it is clear: no commit takes so long."""
    with hold_feed(folder_of(table), "events", {}):
        moved = moved_file(table, "theirs")
    record = json.loads((folder_of(table) / "_lock.json").read_bytes())
    record["released"], record["process"]["host"] = False, "elsewhere"
    (folder_of(table) / "_lock.json").write_text(json.dumps(record), encoding="utf-8")
    if long_enough:
        monkeypatch.setattr(lock, "_UNSURE_S", -60)

    with lake_at(tmp_path).writing(FEED, {}):
        pass

    assert moved.exists() is not long_enough
    assert (folder_of(table) / "_staging" / "theirs").exists() is not long_enough


def test_leftovers_without_a_record_of_who_made_them_wait(table: LakeTable, tmp_path: Path) -> None:
    """A person removed the record with the lock."""
    moved = moved_file(table, "theirs")

    with lake_at(tmp_path).writing(FEED, {}):
        pass

    assert moved.exists()
    assert (folder_of(table) / "_staging" / "theirs").exists()


def test_leftovers_of_a_run_that_was_killed_are_deleted_at_once(table: LakeTable, tmp_path: Path) -> None:
    with another_run(folder_of(table)) as process:
        moved = moved_file(table, "theirs")
        process.kill()
        process.wait()

        with lake_at(tmp_path).writing(FEED, {}):
            pass

    assert not moved.exists()
    assert len(glob(table)) == 1


def test_a_commit_whose_file_was_deleted_is_refused(
    table: LakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StagedWriter(table.staging_folder("x"), SCHEMA, date_column="rowtime")
    writer.add(pa.RecordBatch.from_pylist([{"rowtime": 0, "v": "b"}], schema=SCHEMA))
    real = LocalStore.take_in

    def take_in_and_lose(store: LocalStore, moves: Mapping[str, Path]) -> None:
        real(store, moves)
        store.delete(*moves)

    monkeypatch.setattr(LocalStore, "take_in", take_in_and_lose)
    with pytest.raises(LakeDamaged, match="was deleted by another program"):
        table.commit(commit_id(2), Change(adds=writer.finish()), NOW)

    assert values(lake_at(tmp_path).table(FEED)) == ["a"]


def test_the_second_run_names_the_first_or_nobody(tmp_path: Path) -> None:
    """The first one has taken the lock and not written its record yet: what is there is of a run that ended."""
    folder = tmp_path / "streams" / "events"
    with hold_feed(folder, "events", {"command": "long ago"}):
        pass
    ended = (folder / "_lock.json").read_bytes()
    with another_run(folder):
        with pytest.raises(FeedLocked, match=r"another run \(command first\)"):
            hold_feed(folder, "events", {"command": "second"}).__enter__()
        (folder / "_lock.json").write_bytes(ended)
        with pytest.raises(FeedLocked) as raised:
            hold_feed(folder, "events", {"command": "second"}).__enter__()

    assert raised.value.message == "the feed events is held by another run"


def test_a_run_that_failed_has_ended_too(tmp_path: Path) -> None:
    folder = tmp_path / "streams" / "events"
    with pytest.raises(KeyError), hold_feed(folder, "events", {}):
        raise KeyError

    with hold_feed(folder, "events", {}) as hold:
        assert hold.before is not None
        assert hold.before.is_alive is False


@pytest.mark.parametrize("record", [b"", b"\0\0", b"[]", b'{"holder": 3}', b'{"pid": "1", "command": "before"}'])
def test_a_record_that_says_nothing_certain_keeps_nobody_out(tmp_path: Path, record: bytes) -> None:
    folder = tmp_path / "streams" / "events"
    folder.mkdir(parents=True)
    (folder / "_lock.json").write_bytes(record)

    with hold_feed(folder, "events", {}) as hold:
        assert hold.kept_from < float("inf")


def test_a_lock_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    folder, target = tmp_path / "streams" / "events", tmp_path / "precious"
    folder.mkdir(parents=True)
    target.write_text("kept")
    for name in ("_lock", "_lock.json.tmp"):
        (folder / name).symlink_to(target)
    with pytest.raises(LakeDamaged):
        hold_feed(folder, "events", {}).__enter__()
    (folder / "_lock").unlink()
    with hold_feed(folder, "events", {}):
        pass

    assert target.read_text() == "kept"


def test_what_was_done_is_not_denied_because_the_disk_is_full_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lock.write_file

    def full_at_the_end(path: Path, data: bytes) -> None:
        if b'"released": true' in data:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    monkeypatch.setattr(lock, "write_file", full_at_the_end)
    with hold_feed(tmp_path / "events", "events", {"command": "first"}):
        done = True
    with hold_feed(tmp_path / "events", "events", {"command": "second"}) as hold:
        assert done
        assert hold.kept_from == float("inf")
