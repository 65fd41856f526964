"""Compaction from the shell: what a person sees of it, and that every other command goes on as before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import Feed
from pipeline.lake.lock import hold_feed
from tests.integration.commands import ran
from tests.integration.repairs import harm, places
from tests.integration.small_sources import DAY_MS, START_MS, a_stream, columns, reader_of, rows
from tests.support import feed_for, lake_at

RUNS, DAYS = 4, 3


@pytest.fixture
def stream() -> Source:
    return a_stream([], partitions=2)


@pytest.fixture
def server(stream: Source) -> Iterator[Emulator]:
    totals = [Record(0, 0, START_MS, {"ID": 1, "TEXT": "one"})]
    table = Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, totals)
    with running(Dataset([stream, reader_of(stream), table])) as emulator:
        yield emulator


def more_rows(stream: Source) -> None:
    """Two rows a day and topic partition."""
    for day in range(DAYS):
        for partition in (1, 0):
            offset = len([record for record in stream.records if record.partition == partition])
            for n in range(offset, offset + 2):
                values = {"ID": n, "TEXT": f"{partition}-{n}"}
                stream.records.append(Record(partition, n, START_MS + day * DAY_MS + n, values))


@pytest.fixture
def lake(lake_root: Path, server: Emulator, stream: Source, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stream of several small files a day, and a table with one version."""
    monkeypatch.setenv("KSQLDB_URL", server.url)
    for feed in (feed_for(stream), feed_for(server.source("T"), retention_versions=7)):
        lake_at(lake_root).feeds.add(feed)
    ran(lake_root, "export_to_data_lake", "--table", "t")
    for _ in range(RUNS):
        more_rows(stream)
        ran(lake_root, "export_to_data_lake", "--stream", "s")
    return lake_root


def compact(root: Path, *arguments: str, code: int = 0, **env: str) -> Any:
    return ran(root, "metadata_utils", "compact", *arguments, code=code, env=env)


def files(root: Path, feed: Feed) -> int:
    return len(lake_at(root).table(feed).files)


def test_a_person_compacts_and_every_command_goes_on_as_before(lake: Path, stream: Source) -> None:
    feed, old = feed_for(stream), rows(lake, feed_for(stream))

    dry = compact(lake, "s", "--dry-run")
    assert dry.stdout.startswith("s: would make 3 files of 12 files (")
    assert dry.stdout.endswith(") in 3 partitions\nNothing was changed.\n")
    assert files(lake, feed) == RUNS * DAYS

    done = compact(lake)
    assert done.stdout.startswith("s: 12 files (")
    assert " in 3 partitions became 3 files (" in done.stdout
    assert done.stdout.endswith("t: nothing to compact\n")
    assert compact(lake, "s").stdout == "s: nothing to compact\n"
    by_place = sorted(old, key=lambda row: (row["rowpartition"], row["rowoffset"]))
    assert sorted(rows(lake, feed), key=lambda row: (row["rowpartition"], row["rowoffset"])) == by_place

    assert " compact " in ran(lake, "metadata_utils", "history", "s").stdout
    assert "s: ok" in ran(lake, "metadata_utils", "verify", "--deep", "s", "--source").stdout
    more_rows(stream)
    assert "s: 12 rows" in ran(lake, "export_to_data_lake", "--stream", "s").stderr
    assert "s: nothing to repair" in ran(lake, "metadata_utils", "repair", "s").stdout
    assert "s: 6 files (" in compact(lake, "s").stdout
    assert "s: ok" in ran(lake, "metadata_utils", "verify", "--deep", "s", "--source").stdout
    ran(lake, "export_to_data_lake", "--stream", "s", "--full")
    ran(lake, "export_to_data_lake", "--stream", "s", "--date", lake_at(lake).table(feed).files[0].partition or "")
    assert "s: ok" in ran(lake, "metadata_utils", "verify", "--deep", "s", "--source").stdout


def test_the_form_of_the_result(lake: Path) -> None:
    would = json.loads(compact(lake, "s", "--dry-run", "--json").stdout)
    done = json.loads(compact(lake, "s", "--json").stdout)
    nothing = json.loads(compact(lake, "s", "--json").stdout)

    (planned,), (made,) = would.pop("feeds"), done.pop("feeds")
    assert would == {"schema_version": 1, "dry_run": True, "errors": []}
    assert done == {"schema_version": 1, "dry_run": False, "errors": []}
    assert planned == made | {"bytes_after": None, "commits": 0}
    assert (made["feed"], made["rows"], made["files"], made["files_after"], made["commits"]) == ("s", 48, 12, 3, 1)
    assert 0 < made["bytes_after"] < made["bytes"]
    assert len(made["partitions"]) == DAYS
    assert (nothing["feeds"][0]["files"], nothing["feeds"][0]["files_after"]) == (0, 0)


def test_days_before_one_and_a_size_can_be_asked_for(lake: Path, stream: Source) -> None:
    second = sorted({file.partition or "" for file in lake_at(lake).table(feed_for(stream)).files})[1]

    assert "s: nothing to compact" in compact(lake, "s", "--target-size", "1kB").stdout
    assert "s: 4 files (" in compact(lake, "s", "--before", second, "--target-size", "0.5GB").stdout
    for wrong in ("0MB", "-1MB", "1TB", "a lot"):
        assert "is no size such as 128MB" in compact(lake, "s", f"--target-size={wrong}", code=2).stderr


def test_a_feed_that_is_held_is_for_later(lake: Path) -> None:
    with hold_feed(lake / "streams" / "s", "s", {"command": "export_to_data_lake.py", "pid": os.getpid()}):
        held = compact(lake, "s", code=75)

    assert "error: the feed s is held by another run (command export_to_data_lake.py" in held.stderr
    assert held.stdout == ""
    compact(lake, "s")


def test_a_damaged_day_is_named_and_the_others_are_compacted(lake: Path, stream: Source) -> None:
    feed, old = feed_for(stream), places(lake, feed_for(stream))
    harm(lake, feed, "changed")

    done = compact(lake, code=1)

    assert "s: 8 files (" in done.stdout
    assert done.stderr.count("error: date=") == 1
    assert "content is not what was written (checksum differs)" in done.stderr
    assert "hint: see what can be done: python metadata_utils.py repair s" in done.stderr
    ran(lake, "metadata_utils", "repair", "s", "--yes")
    assert places(lake, feed) == old
    assert "s: 4 files (" in compact(lake, "s").stdout


def test_a_compacted_file_that_is_lost_is_read_again(lake: Path, stream: Source) -> None:
    feed, old = feed_for(stream), places(lake, feed_for(stream))
    compact(lake, "s")
    harm(lake, feed, "missing", index=1)

    ran(lake, "metadata_utils", "verify", "--deep", "s", code=1)
    repaired = ran(lake, "metadata_utils", "repair", "s", "--yes")

    assert "16 rows were read again" in repaired.stdout
    assert places(lake, feed) == old
    assert "s: ok" in ran(lake, "metadata_utils", "verify", "--deep", "s", "--source").stdout


def test_an_export_compacts_where_that_is_set(lake: Path, stream: Source) -> None:
    feed, settings = feed_for(stream), {"COMPACT_AFTER_EXPORT": "1"}
    more_rows(stream)

    done = ran(lake, "export_to_data_lake", "--stream", "s", env=settings)
    again = ran(lake, "export_to_data_lake", "--stream", "s", "--table", "t", env=settings)

    assert "s: 12 rows; 3 files, " in done.stderr
    assert "; 15 small files became 3 (" in done.stderr
    assert "small file" not in again.stderr
    assert files(lake, feed) == DAYS
    assert "s: ok" in ran(lake, "metadata_utils", "verify", "--deep", "s", "--source").stdout


def test_a_damaged_day_fails_no_export_that_compacts(lake: Path, stream: Source) -> None:
    more_rows(stream)
    harmed = harm(lake, feed_for(stream), "missing")

    done = ran(lake, "export_to_data_lake", "--stream", "s", env={"COMPACT_AFTER_EXPORT": "1"})

    assert "; 10 small files became 2; date=" in done.stderr
    assert f"{harmed.path}: file is missing (" in done.stderr
