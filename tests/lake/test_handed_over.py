"""Files that another machine has staged in a bucket, for the process that commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lake.stores import open_store
from tests.private_seaweedfs import PrivateSeaweedfs

pytestmark = pytest.mark.server


def test_what_another_machine_has_staged_is_taken_in_and_its_leftovers_are_cleared(
    root: str, seaweedfs: PrivateSeaweedfs, tmp_path: Path
) -> None:
    there, names = open_store(root, seaweedfs.access), list[str]()
    for name in ("wanted", "left", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000.staged").write_bytes(name.encode())
        names.append(str(there.hand_over(tmp_path / name / "00000.staged")))

    there.take_in({"date=2026-11-20/wanted": names[0]})
    there.delete(names[2])
    with pytest.raises(FileNotFoundError):
        there.take_in({"date=2026-11-20/gone": names[2]})

    assert names == [f"_staging/{name}/00000.staged" for name in ("wanted", "left", "gone")]
    assert not list(tmp_path.glob("*/*.staged"))
    assert there.read("date=2026-11-20/wanted") == b"wanted"
    assert (there.size(names[0]), there.size(names[1])) == (None, 4)
    there.clear_staging()
    assert there.size(names[1]) is None
