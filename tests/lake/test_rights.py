"""The lake holds people's data: who may read it is set, and no symbolic link leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import running
from pipeline.errors import LakeDamaged
from pipeline.lake.local_store import LocalStore
from pipeline.lake.lock import hold_feed
from tests.lake.small_tables import add_rows, commit_id, stream_feed
from tests.support import cleaned, folder_of, lake_at, run_script

FEED = stream_feed()


@pytest.mark.server
@pytest.mark.parametrize(
    ("umask", "mode", "folders", "files"),
    [(0o022, None, 0o750, 0o640), (0o000, "0755", 0o755, 0o644), (0o077, None, 0o700, 0o600)],
)
def test_folders_and_files_have_the_rights_that_are_set_and_no_more_than_the_umask_lets(
    tmp_path: Path, umask: int, mode: str | None, folders: int, files: int
) -> None:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("N", parse_type("BIGINT")))
    records = [Record(0, n, 1_790_000_000_000 + n, {"K": "k", "N": n}) for n in range(3)]
    dataset = Dataset([Source("EVENTS", "STREAM", columns, "events", 1, records)])
    root, before = tmp_path / "lake", os.umask(umask)
    try:
        with running(dataset) as server:
            env = {"LAKE_ROOT": str(root), "KSQLDB_URL": server.url} | ({"LAKE_MODE": mode} if mode else {})
            added = run_script(
                "manage_feeds.py", "add", "--name", "events", "--type", "stream", "--source", "EVENTS", env=env
            )
            done = run_script("export_to_data_lake.py", "--all", env=env)
    finally:
        os.umask(before)

    assert (added.returncode, done.returncode) == (0, 0), added.stderr + done.stderr
    found = list(root.rglob("*"))
    assert {path.suffix for path in found} >= {".parquet", ".json", ".sql", ".log"}
    assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_dir()} == {oct(folders)}
    assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_file()} == {oct(files)}


@pytest.mark.server
def test_a_mode_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run_script("metadata_utils.py", env={"LAKE_ROOT": str(tmp_path), "LAKE_MODE": "rwx"})

    assert done.returncode != 0
    assert "LAKE_MODE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("link", [".", "..", "_delta_log", "_staging", "date=1970-01-01"])
def test_no_folder_of_a_feed_leads_out_of_the_lake(tmp_path: Path, link: str) -> None:
    root, outside = tmp_path / "lake", tmp_path / "outside"
    lake_at(root).feeds.add(FEED)
    table = lake_at(root).table(FEED)
    add_rows(table, 1, [(0, 0, 0, "a")])
    (folder_of(table) / "_staging" / "x").mkdir(parents=True)
    place = Path(os.path.normpath(folder_of(table) / link))
    place.rename(outside)
    place.symlink_to(outside)
    orphan = next(outside.rglob("*.parquet"), outside / "x").with_name(f"{commit_id(9)}-00000-{'0' * 16}.parquet")
    orphan.write_bytes(b"precious")
    before = sorted(str(path) for path in outside.rglob("*"))

    with pytest.raises(LakeDamaged, match="is a symbolic link"):
        cleaned(root, FEED, 0)
    with pytest.raises(LakeDamaged, match="is a symbolic link"):
        add_rows(table, 2, [(0, 0, 1, "b")])

    left = {path for path in outside.rglob("*") if "_staging" not in path.parts}
    assert {path for path in map(Path, before) if "_staging" not in path.parts} <= left


def test_deleting_a_feeds_data_deletes_links_and_not_what_they_lead_to(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "lake" / "streams" / "events"
    outside.mkdir()
    (outside / "precious").touch()
    folder.mkdir(parents=True)
    (folder / "date=1970-01-01").symlink_to(outside)
    with hold_feed(folder, "events", {}):
        LocalStore(folder).delete_all()

    assert not folder.exists()
    assert (outside / "precious").exists()

    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(outside)
    with pytest.raises(LakeDamaged, match="is a symbolic link"), hold_feed(folder, "events", {}):
        LocalStore(folder).delete_all()
    assert (outside / "precious").exists()


@pytest.mark.parametrize("name", ["views.sql", "views.sql.tmp", ".views.lock"])
def test_files_of_the_lake_that_are_links_lead_nowhere(tmp_path: Path, name: str) -> None:
    from pipeline.errors import PipelineError

    root, outside = tmp_path / "lake", tmp_path / "precious"
    lake_at(root).feeds.add(FEED)
    outside.write_text("kept")
    (root / name).symlink_to(outside)
    try:
        lake_at(root).write_views()
    except PipelineError as error:
        assert name == ".views.lock", error

    assert outside.read_text() == "kept"
