"""Temporary folders go at the end, and those of killed processes at the next use."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ScratchUnusable
from pipeline.scratch import scratch_errors, scratch_folder
from pipeline.scratch_database import database_errors, scratch_database
from tests.support import ROOT


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_folder_goes_at_the_end_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError), scratch_folder() as folder:
        (folder / "rows").write_text("x")
        raise KeyError

    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_at_the_next_use(tmp_path: Path) -> None:
    program = (
        "import time; from pipeline.scratch import scratch_folder\n"
        "with scratch_folder(): print(flush=True); time.sleep(3600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    (left,) = tmp_path.iterdir()

    with scratch_folder():
        assert left.exists()  # its process lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with scratch_folder():
        assert not left.exists()


@pytest.mark.parametrize("after", ["mkdtemp", "open", "flock"])
def test_a_folder_that_is_taken_for_a_leftover_before_it_is_held_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Another process begins at each moment between making a folder and holding it, and removes what nobody holds."""
    module = {"mkdtemp": tempfile, "open": os, "flock": fcntl}[after]
    real, others = getattr(module, after), list[set[str]]()

    def then_another_begins(*arguments: Any, **more: Any) -> Any:
        done = real(*arguments, **more)
        if not others and any(tmp_path.iterdir()):
            others.append({path.name for path in tmp_path.iterdir()})
            with scratch_folder():
                pass
        return done

    monkeypatch.setattr(module, after, then_another_begins)
    with scratch_folder() as folder:
        assert others
        (folder / "rows").write_text("mine")
        with scratch_folder():
            assert (folder / "rows").read_text() == "mine"
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))

    with (
        pytest.raises(ScratchUnusable, match="nowhere: No such file or directory; nothing was changed"),
        scratch_folder(),
    ):
        pass
    with pytest.raises(ScratchUnusable, match="no room is left, or") as raised, scratch_errors(tmp_path, ValueError):
        raise ValueError("\x1b[2Ja library's own words")
    assert "own words" not in raised.value.message


def test_a_database_puts_what_memory_does_not_hold_into_its_folder_and_says_when_that_is_full() -> None:
    with scratch_folder() as folder, scratch_database(folder, "20MB") as database:
        database.execute("SET threads = 1")
        database.execute("SET max_temp_directory_size = '20MB'")
        database.execute("CREATE TABLE numbers (number UBIGINT)")
        with pytest.raises(ScratchUnusable, match="no room is left"), database_errors(folder):
            for _ in range(20):
                database.execute("INSERT INTO numbers SELECT hash(range) FROM range(300_000)")

        assert any(folder.glob("duckdb_temp_*"))


def old_folder(parent: Path, name: str = "ksqldb-lake-scratch-theirs", mode: int = 0o700) -> Path:
    """A folder of that name whose maker seems to be dead for long."""
    folder = parent / name
    folder.mkdir(mode=0o700)
    (folder / "rows").write_text("left over")
    folder.chmod(mode)
    os.utime(folder, (0, 0))
    return folder


def test_a_lock_that_is_a_link_leads_to_no_file_of_ours(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("every byte")
    trap = old_folder(temporary)
    (trap / "in-use").symlink_to(precious)
    os.utime(trap, (0, 0))

    with scratch_folder():
        pass

    assert precious.read_text() == "every byte"


def test_a_folder_that_is_a_link_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    elsewhere = old_folder(tmp_path, "elsewhere")
    (temporary / "ksqldb-lake-scratch-link").symlink_to(elsewhere)

    with scratch_folder():
        pass

    assert (elsewhere / "rows").read_text() == "left over"
    assert [path.name for path in elsewhere.iterdir()] == ["rows"]


def test_a_folder_that_others_may_write_is_not_touched(temporary: Path) -> None:
    open_to_all = old_folder(temporary, mode=0o777)

    with scratch_folder():
        pass

    assert [path.name for path in open_to_all.iterdir()] == ["rows"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user: run the tests as root")
def test_a_folder_of_another_user_is_not_touched(temporary: Path) -> None:
    theirs = old_folder(temporary)
    os.chown(theirs, 65534, 65534)

    with scratch_folder():
        pass

    assert [path.name for path in theirs.iterdir()] == ["rows"]


def test_a_folder_of_ours_is_removed_without_what_its_links_lead_to(temporary: Path, tmp_path: Path) -> None:
    elsewhere = old_folder(tmp_path, "elsewhere")
    ours = old_folder(temporary)
    (ours / "link").symlink_to(elsewhere)
    os.utime(ours, (0, 0))

    with scratch_folder():
        assert not ours.exists()

    assert (elsewhere / "rows").exists()


def test_a_temporary_folder_in_which_anyone_can_swap_folders_is_refused(temporary: Path) -> None:
    temporary.chmod(0o777)

    with pytest.raises(ScratchUnusable, match="every user may rename") as raised, scratch_folder():
        pass

    assert raised.value.hint == f"chmod +t {temporary}, or name another folder by TMPDIR"
    temporary.chmod(0o1777)
    with scratch_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
