"""`verify` judges every feed, and says what is wrong with one although another cannot be looked at."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import running
from pipeline.feeds import Feed
from tests.integration.test_changed_sources import START_MS, a_stream, columns, export
from tests.support import feed_for, folder_of, lake_at, run_script

pytestmark = pytest.mark.server


def small_stream(name: str) -> Source:
    records = [Record(0, n, START_MS + n, {"ID": n, "TEXT": f"v{n}"}) for n in range(5)]
    return Source(name, "STREAM", columns(ID="BIGINT", TEXT="STRING"), f"{name.lower()}_topic", 1, records)


def verify(root: Path, *arguments: str, url: str = "http://127.0.0.1:9") -> Any:
    done = run_script(
        "metadata_utils.py", "verify", "--deep", *arguments, env={"LAKE_ROOT": str(root), "KSQLDB_URL": url}
    )
    assert "Traceback" not in done.stderr
    return done


def change_a_byte(root: Path, feed: Feed) -> None:
    """Of the name of the program that wrote the file: all rows can still be read."""
    table = lake_at(root).table(feed)
    path = folder_of(table) / table.files[0].path
    data = bytearray(path.read_bytes())
    data[data.rindex(b"parquet-cpp")] ^= 1
    path.write_bytes(data)


def test_findings_are_told_although_another_feed_cannot_be_read(lake_root: Path) -> None:
    first, second = small_stream("A"), small_stream("B")
    with running(Dataset([first, second])) as server:
        for source in (first, second):
            assert export(lake_root, server, feed_for(source)).returncode == 0
        change_a_byte(lake_root, feed_for(first))
    with running(Dataset([first])) as server:
        done = verify(lake_root, "--source", url=server.url)
        shown = json.loads(verify(lake_root, "--source", "--json", url=server.url).stdout)

    assert done.returncode == 1
    assert "\n  content is not what was written (checksum differs):\n    date=" in done.stdout
    assert "b: not all could be verified: the ksqlDB source 'B' does not exist on the server" in done.stdout
    assert "hint: the server has: A" in done.stderr
    assert {finding["feed"] for finding in shown["findings"]} == {"a"}
    assert [error["feed"] for error in shown["errors"]] == ["b"]


def test_a_finding_counts_more_than_a_server_that_is_away(lake_root: Path) -> None:
    first, second = small_stream("A"), small_stream("B")
    with running(Dataset([first, second])) as server:
        for source in (first, second):
            assert export(lake_root, server, feed_for(source)).returncode == 0

    away = verify(lake_root, "--source")
    change_a_byte(lake_root, feed_for(second))
    both = verify(lake_root, "--source")

    assert away.returncode == 75
    assert away.stdout.count("not all could be verified") == 2
    assert away.stderr.count("hint:") == 1
    assert both.returncode == 1
    assert "b: 1 problem; not all could be verified" in both.stdout


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"ID": "BIGINT"}, "text is gone; the rows were not compared"),
        ({"ID": "BIGINT", "TEXT": "STRING", "MORE": "INTEGER"}, "more is not in the lake yet"),
        (
            {"ID": "STRING", "TEXT": "STRING"},
            "id is int64 in the lake, string on the server; the rows were not compared",
        ),
    ],
)
def test_a_column_that_is_gone_new_or_other_at_the_server_is_a_finding(
    lake_root: Path, now: dict[str, str], said: str
) -> None:
    source = a_stream([Record(0, n, START_MS + n, {"ID": n, "TEXT": "v", "MORE": None}) for n in range(5)])
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed_for(source)).returncode == 0
        server.replace_source(dataclasses.replace(source, columns=columns(**now)))
        done = verify(lake_root, "--source", url=server.url)

    assert done.returncode == 1
    assert " ".join(done.stdout.split()) == f"s: 1 problem columns differ from the server's: {said}"


def test_a_feed_with_a_damaged_log_stops_neither_the_others_export_nor_their_verification(lake_root: Path) -> None:
    first, second = small_stream("A"), small_stream("B")
    with running(Dataset([first, second])) as server:
        assert export(lake_root, server, feed_for(first)).returncode == 0
        log = lake_root / "streams" / "a" / "_delta_log"
        (log / f"{0:020}.json").write_bytes(b"{")
        exported = export(lake_root, server, feed_for(second))
    done = verify(lake_root)

    assert exported.returncode == 0
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert f"a: not all could be verified: the feed a cannot be read: {log}/{0:020}.json is not whole" in said
    assert "b: ok; 1 file read, 5 rows\n" in done.stdout
