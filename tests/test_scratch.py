"""Temporary folders go at the end, and those of killed processes at the next use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline import scratch
from pipeline.scratch import ScratchUnusable, scratch_errors, scratch_folder
from tests.support import ROOT


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_goes_at_the_end_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError), scratch_folder() as folder:
        (folder / "rows").write_text("x")
        raise KeyError

    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_at_the_next_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import time; from pipeline.scratch import scratch_folder\n"
        "with scratch_folder(): print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(scratch, "_YOUNG_S", 0)

    with scratch_folder():
        assert left.exists()  # its process lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    monkeypatch.setattr(scratch, "_YOUNG_S", 600)
    with scratch_folder():
        assert left.exists()  # young: it may be about to be locked
    monkeypatch.setattr(scratch, "_YOUNG_S", 0)
    with scratch_folder():
        assert not left.exists()


def test_a_temporary_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))

    with (
        pytest.raises(ScratchUnusable, match="nowhere: No such file or directory; nothing was changed"),
        scratch_folder(),
    ):
        pass
    with pytest.raises(ScratchUnusable, match="disk is full"), scratch_errors(tmp_path, ValueError):
        raise ValueError("disk is full\nand more")
