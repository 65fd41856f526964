"""A lake that moves into a bucket and back, from the shell: exports go on at the new place as if nothing was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline import cli
from pipeline.lake.lake import Lake
from tests.integration.commands import ran
from tests.integration.small_sources import a_stream, columns
from tests.private_seaweedfs import PrivateSeaweedfs
from tests.support import add_default_feeds, feed_for, lake_at

NOW_MS = int(time.time() * 1000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    rows = [Record(0, n, NOW_MS, {"ID": n, "TEXT": "x"}) for n in range(3)]
    totals = [Record(0, 0, NOW_MS, {"ID": 1, "TEXT": "one"})]
    table = Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, totals)
    with running(Dataset([a_stream(rows), table])) as emulator:
        monkeypatch.setenv("KSQLDB_URL", emulator.url)
        yield emulator


@pytest.fixture
def lake(lake_root: Path, server: Emulator) -> Path:
    for feed in (feed_for(server.source("S")), feed_for(server.source("T"))):
        lake_at(lake_root).feeds.add(feed)
    ran(lake_root, "export_to_data_lake", "--all")
    return lake_root


def copied(lake: Path, source: object, target: object, *words: str, code: int = 0, **env: str) -> dict[str, Any]:
    done = ran(lake, "metadata_utils", "copy-lake", str(source), str(target), "--json", *words, code=code, env=env)
    form: dict[str, Any] = json.loads(done.stdout)
    return form


@pytest.mark.server
def test_exports_go_on_in_the_bucket_and_on_a_disk_again(
    lake: Path, server: Emulator, seaweedfs: PrivateSeaweedfs, tmp_path: Path
) -> None:
    bucket, back = f"s3://lakes/{tmp_path.name}", tmp_path / "back"
    seaweedfs_lake = Lake(bucket, cli.tell, 0, access=seaweedfs.access)
    seaweedfs_lake.check_puts("probe")  # makes the bucket
    stream = feed_for(server.source("S"))

    due = copied(lake, lake, bucket, "--dry-run", **seaweedfs.settings)
    assert not seaweedfs_lake.feeds.is_there()
    done = copied(lake, lake, bucket, **seaweedfs.settings)
    for form, dry in ((due, True), (done, False)):
        assert (form["dry_run"], form["from"], form["to"], form["behind"]) == (dry, str(lake), bucket, [])
        counts = [(one["feed"], one["rows"], one["copied_files"], one["files"]) for one in form["feeds"]]
        assert counts == [("s", 3, 1, 1), ("t", 1, 1, 1)]
    assert [len(one["fingerprint"] or "") for one in done["feeds"]] == [32, 32]

    server.append("S", [Record(0, 3, NOW_MS, {"ID": 3, "TEXT": "new"})])
    there = {"LAKE_ROOT": bucket, **seaweedfs.settings}
    ran(lake, "export_to_data_lake", "--all", env=there)
    ran(lake, "metadata_utils", "verify", "--deep", "--source", env=there)
    assert [run.command.split()[1] for run in seaweedfs_lake.runs.newest(9)] == [
        "verify",
        "--all",
        "copy-lake",
        "--all",
    ]

    copied(lake, bucket, back, **seaweedfs.settings)
    server.append("S", [Record(0, 4, NOW_MS, {"ID": 4, "TEXT": "newer"})])
    ran(back, "export_to_data_lake", "--all")
    ran(back, "metadata_utils", "verify", "--deep", "--source")
    table = lake_at(back).table(stream)
    ids = sorted(row["id"] for batch in table.read_batches(table.files) for row in batch.to_pylist())
    assert ids == [0, 1, 2, 3, 4]


def test_a_person_reads_what_was_copied_and_what_is_behind(lake: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"

    shown = ran(lake, "metadata_utils", "copy-lake", str(lake), str(new), "--dry-run").stdout
    assert "s: would copy 1 of 1 file (" in shown
    assert shown.endswith("Nothing was changed.\n")
    assert not new.exists()

    assert "the same on both sides" in ran(lake, "metadata_utils", "copy-lake", str(lake), str(new)).stdout
    assert (
        "s: copied 0 of 1 file (0 B); Delta version 1, 3 rows"
        in ran(lake, "metadata_utils", "copy-lake", str(lake), str(new)).stdout
    )


def test_a_place_that_is_in_use_is_refused_before_anything_is_copied(
    lake: Path, server: Emulator, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    ran(lake, "metadata_utils", "copy-lake", str(lake), str(new))
    server.append("S", [Record(0, 3, NOW_MS, {"ID": 3, "TEXT": "new"})])
    ran(new, "export_to_data_lake", "--all")

    refused = ran(lake, "metadata_utils", "copy-lake", str(lake), str(new), code=2)

    assert f"error: nothing is copied over what is there: {new}/streams/s has commits of its own" in refused.stderr
    assert "hint: name an empty place, or an earlier copy" in refused.stderr


def test_a_damaged_file_is_named_and_the_other_feeds_are_copied(lake: Path, tmp_path: Path) -> None:
    (path,) = lake.glob("streams/s/*/*.parquet")
    path.write_bytes(bytes(path.stat().st_size))

    form = copied(lake, lake, tmp_path / "new", code=1)

    assert [one["feed"] for one in form["feeds"]] == ["t"]
    assert [error["message"] for error in form["errors"]] == [f"{path} is not what was written"]
    assert [feed.name for feed in lake_at(tmp_path / "new").feeds.readable()] == ["t"]


@pytest.mark.parametrize(
    ("source", "target", "hint"),
    [
        ("{}/nope", "{}/new", "give as FROM the place of a lake"),
        ("{}/file", "{}/new", "give as FROM the place of a lake"),
        ("{}/none", "{}/new", "give as FROM the place of a lake"),
        ("{}/lake", "{}/100%", "give a folder without that in its path"),
        ("{}/lake", "ftp://x/y", "give the path of a local folder, or s3://, gs:// or az://bucket/prefix"),
        ("{}/lake", "s3://lakes/a%b", "give a prefix of letters, digits and the signs . _ - = + ~ @ ,"),
        ("{}/lake", "{}/file", "give a folder, or move that file away"),
    ],
)
def test_hints_speak_of_the_places_that_were_given(tmp_path: Path, source: str, target: str, hint: str) -> None:
    """LAKE_ROOT plays no part."""
    add_default_feeds(tmp_path / "lake")
    (tmp_path / "none").mkdir()
    (tmp_path / "file").touch()
    places = (source.format(tmp_path), target.format(tmp_path))

    done = ran(tmp_path / "lake", "metadata_utils", "copy-lake", *places, code=1)

    assert done.stderr.endswith(f"hint: {hint}\n")
