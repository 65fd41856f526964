"""A disk that breaks: what the lake says of it, in the operating system's words or in the Delta library's."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake.exceptions import DeltaError

import manage_feeds
from pipeline.errors import CommitFailed, DiskFull, FeedLocked, LakeDamaged, LakeNotWritable, PipelineError
from pipeline.feeds import parse_feed
from pipeline.lake import open_file, writer
from pipeline.lake.delta import delta_errors
from pipeline.lake.local_store import LocalStore
from pipeline.lake.lock import hold_feed
from pipeline.lake.writer import StagedWriter
from tests.support import lake_at


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, LakeNotWritable),
        (errno.EROFS, LakeNotWritable),
        (errno.EIO, LakeDamaged),
        (errno.ENOENT, CommitFailed),
    ],
)
def test_the_delta_librarys_text_is_understood(tmp_path: Path, number: int, expected: type[PipelineError]) -> None:
    with pytest.raises(expected) as raised, delta_errors(tmp_path):
        raise DeltaError(f"Generic LocalFileSystem error: something (os error {number})")

    assert str(tmp_path) in raised.value.message
    assert raised.value.hint


def test_a_staged_file_that_cannot_be_deleted_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([("n", pa.int64())])
    staged = StagedWriter(tmp_path / "staging", schema, partition="1")
    staged.add(pa.record_batch([[1]], schema=schema))

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    for room in (writer, open_file):
        monkeypatch.setattr(room, "delete_file", broken)
    staged.discard()
    staged.discard()

    assert staged.finish() != []  # an empty file of its own: nothing is open any more


def test_data_that_cannot_be_deleted_is_not_said_to_be_gone(lake_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake_at(lake_root).feeds.add(parse_feed({"name": "f", "type": "stream", "source": "F"}, "f"))
    data = lake_root / "streams" / "f" / "date=2026-11-20" / "rows.parquet"
    data.parent.mkdir(parents=True)
    data.touch()
    delete = ["delete", "f", "--confirm", "--data"]

    def denied(path: Path, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", denied)
        failed = CliRunner().invoke(manage_feeds.main, delete, env={"LAKE_ROOT": str(lake_root)})
    assert failed.exit_code == 1
    assert f"error: the lake cannot be written: {data.parent}: Permission denied" in failed.stderr
    assert "hint: make" in failed.stderr
    assert "deleted" not in failed.output
    assert (data.exists(), lake_at(lake_root).feeds.get("f").name) == (True, "f")

    done = CliRunner().invoke(manage_feeds.main, delete, env={"LAKE_ROOT": str(lake_root)})
    assert (done.exit_code, done.output) == (0, "deleted f and its data\n")
    assert not (lake_root / "streams" / "f").exists()


def test_nobody_takes_a_feed_while_its_data_is_being_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, refused = tmp_path / "f", []
    for part in ("_delta_log", "date=1", "zz"):
        (folder / part).mkdir(parents=True)
    really = shutil.rmtree

    def meanwhile(path: Path, **given: Any) -> None:
        really(path, **given)
        with pytest.raises(FeedLocked), hold_feed(folder, "f", {"command": "second"}):
            pass
        refused.append(path.name)

    monkeypatch.setattr(shutil, "rmtree", meanwhile)
    with hold_feed(folder, "f", {"command": "first"}):
        LocalStore(folder).delete_all()

    assert sorted(refused) == ["_delta_log", "date=1", "zz"]
    assert not folder.exists()
