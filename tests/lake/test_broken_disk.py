"""A disk that breaks: what the lake says of it, in the operating system's words or in the Delta library's."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from pipeline.errors import PipelineError
from pipeline.lake import writer
from pipeline.lake.delta import CommitFailed, delta_errors
from pipeline.lake.storage import DiskFull, LakeDamaged, LakeNotWritable
from pipeline.lake.writer import StagedWriter


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

    monkeypatch.setattr(writer, "delete_file", broken)
    staged.discard()
    staged.discard()

    assert staged.finish() != []  # an empty file of its own: nothing is open any more
