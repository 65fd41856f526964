"""Where a lake can be: every reader reads it there, or the place is refused when it is read from the settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from pipeline.errors import LakeDamaged, LakeNotWritable
from pipeline.lake.change import Change
from pipeline.lake.local_store import lake_folder
from pipeline.lake.lock import hold_feed
from pipeline.lake.writer import StagedWriter
from pipeline.verify.files import check_files
from tests.lake.small_tables import DAY_MS, NOW, SCHEMA, commit_id, stream_feed
from tests.support import ROOT, cleaned, folder_of, lake_at
from tests.torture.readers import read_stream

NUMBERS = SCHEMA.set(3, pa.field("n", pa.int64()))
GOOD = ["plain", "it's", "a&b;c,d", "(x)", "$HOME", "!", "@", "~tilde", "plus+", "-dash", "a|b", "a^b", "a:b", "dots.."]
NOT_FOR_POLARS = [
    "with blank",
    " blanks around ",
    "ümläut",
    "日本語",
    'quo"ted',
    "back`tick",
    "<less>",
    "a=b",
    "date=1",
]
"""Its `scan_delta` takes the Delta library's URLs for paths, and each `name=value` of a path for a column."""
BAD = ["what?", "a#b", "100%", "a%20b", "{x}", "[x]", "st*r", "back\\slash", "new\nline", "tab\t", "nul\0"]


@pytest.mark.parametrize("names", [GOOD, NOT_FOR_POLARS])
def test_every_reader_reads_a_lake_below_odd_places(tmp_path: Path, names: list[str]) -> None:
    root = lake_folder(str(tmp_path.joinpath(*names, "lake")))
    lake_at(root).feeds.add(stream_feed())
    table = lake_at(root).table(stream_feed())
    with hold_feed(folder_of(table), "events", {}):
        table.create(NUMBERS, "topic")
        writer = StagedWriter(table.staging_folder("x"), NUMBERS, date_column="rowtime")
        new = [{"rowtime": n * DAY_MS, "rowpartition": n, "rowoffset": 0, "n": n} for n in range(2)]
        writer.add(pa.RecordBatch.from_pylist(new, schema=NUMBERS))
        table.commit(commit_id(1), Change(writer.finish(), bookmarks={0: (1, 0), 1: (1, 0)}, partitions=2), NOW)
    lake_at(root).write_views()

    rows = [(0, 0, 0), (1, 0, 1)]
    for reader in ("views", "glob") if names is NOT_FOR_POLARS else ("polars", "views", "glob"):
        assert read_stream(root, reader) == Counter(rows), reader
    columns = ["rowpartition", "rowoffset", "n"]
    frame = deltalake.DeltaTable(folder_of(table)).to_pandas(columns=columns)
    assert sorted(frame.itertuples(index=False, name=None)) == rows
    assert check_files(cleaned(root, stream_feed(), 1)).findings == ()


@pytest.mark.parametrize("name", BAD)
def test_a_place_that_some_reader_cannot_read_is_refused(name: str) -> None:
    with pytest.raises(LakeNotWritable, match="not every reader") as raised:
        lake_folder(f"/srv/{name}/lake")

    assert raised.value.message.isprintable()
    assert "LAKE_ROOT" in raised.value.hint
    assert "local" not in raised.value.hint  # it is local: only its name is in the way


@pytest.mark.parametrize(
    "root",
    [
        "s3://bucket/lake",
        "http://[::1/lake",
        "file://elsewhere/lake",
        "file:lake",
        "file:///lake?x=1",
        "file:///lake#x",
    ],
)
def test_a_place_that_is_no_local_folder_is_refused(root: str) -> None:
    with pytest.raises(LakeNotWritable):
        lake_folder(root)


@pytest.mark.parametrize("below", ["", "lake"])
def test_a_file_in_the_place_of_the_lake_is_named_as_what_it_is(tmp_path: Path, below: str) -> None:
    (file := tmp_path / "file").touch()

    with pytest.raises(LakeDamaged, match=f"{file}: a file is where a folder has to be") as raised:
        lake_at(file / below).make_folders()

    assert raised.value.hint == "set LAKE_ROOT to a folder, or move that file away"


def test_a_path_that_is_not_utf8_is_refused_as_that() -> None:
    program = "import sys; from pipeline.lake.local_store import lake_folder; lake_folder(sys.argv[1])"
    ascii_only = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}

    with pytest.raises(LakeNotWritable, match=r"the lake's root /srv/l.xe4ke is not UTF-8"):
        lake_folder("/srv/l\udce4ke")
    done = subprocess.run(
        [sys.executable, "-c", program, "/srv/läke"], env=os.environ | ascii_only, cwd=ROOT,
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip

    assert "has other letters than ASCII, and this Python does not read paths as UTF-8" in done.stderr


def test_a_url_of_a_local_folder_is_a_place() -> None:
    assert lake_folder("file:///srv/my%20lake") == Path("/srv/my lake")
    assert lake_folder("file://localhost/srv/lake") == Path("/srv/lake")
