"""`metadata_utils.py --html`: one whole file, whatever is away; and what it does not go together with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.commands import ran
from tests.lake.small_tables import add_rows, add_version, stream_feed, table_feed
from tests.report.read_page import read_page
from tests.support import lake_at


@pytest.fixture
def root(lake_root: Path) -> Path:
    """A lake of a stream with two small files of one day, and a table with two versions."""
    lake = lake_at(lake_root)
    for feed in (stream_feed(), table_feed()):
        lake.feeds.add(feed)
    stream, table = lake.table(stream_feed()), lake.table(table_feed())
    for number in range(2):
        add_rows(stream, number, [(1_763_600_000_000, 0, number, "a")])
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, ["b", "c", "d"])
    return lake_root


def test_the_page_is_one_file_and_replaces_the_one_before(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("an old page", encoding="utf-8")

    done = ran(root, "metadata_utils", "--html", str(file))

    page = read_page(file.read_text(encoding="utf-8"))
    assert done.stderr == f"wrote a page of 2 feeds to {file} ({file.stat().st_size / 1000:.1f} kB)\n"
    assert done.stdout == ""
    assert page.tiles["rows"].values == [7]
    assert page.rows("Files of each feed")["events"][-1].text.startswith("2 files (")
    assert page.tables["Files of each feed"][1][1].values == [2]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]


def test_the_page_goes_to_stdout_and_into_a_pipe(root: Path, tmp_path: Path) -> None:
    page = ran(root, "metadata_utils", "--html", "-", "--lang", "fr").stdout
    assert page.startswith("<!doctype html>\n<html lang=fr>")

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ran(root, "metadata_utils", "--csv", str(pipe))
        assert os.read(reader, 100_000).startswith(b"feed,type,")
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_warehouse_that_is_away_is_said_on_the_page(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"

    ran(root, "metadata_utils", "--html", str(file), "--warehouse", env={"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "9"})

    text = read_page(file.read_text(encoding="utf-8")).text
    assert text.count("The warehouse could not be asked.") == 2
    assert "127.0.0.1:9" in text


def test_a_feed_that_cannot_be_read_is_said_on_the_page(root: Path, tmp_path: Path) -> None:
    next(root.glob("streams/events/_delta_log/*1.json")).write_bytes(b"no json\n")

    done = ran(root, "metadata_utils", "--html", str(tmp_path / "page.html"), code=1)

    page = read_page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.tiles["rows"].values == [5]
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said.removeprefix("error: ") in page.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lang", "fr"], "--lang, --source and --warehouse are options of the page"),
        (["--source"], "--lang, --source and --warehouse are options of the page"),
        (["--warehouse"], "--lang, --source and --warehouse are options of the page"),
        (["--html", "x", "--stats"], "--html excludes --stats, --report, --json and --csv"),
        (["--html", "x", "--csv", "y"], "--html excludes --stats, --report, --json and --csv"),
        (["--html", "no/such/folder/x"], "no/such/folder/x could not be written: No such file or directory"),
    ],
)
def test_what_makes_no_page_says_so(root: Path, words: list[str], message: str) -> None:
    done = ran(root, "metadata_utils", *words, code=1 if "folder" in message else 2)

    assert done.stderr.splitlines()[0] == f"error: {message}"
