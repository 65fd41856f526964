"""`repair` says what is wrong with a feed and what can be done, and with --yes leaves it sound, every row once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Dataset, Source
from ksqldb_emulator.testing import running
from tests.integration.repairs import export, harm, places, repair, run
from tests.integration.small_sources import a_stream, events, reader_of
from tests.support import feed_for, folder_of, lake_at

pytestmark = pytest.mark.server


def two_partitions() -> Source:
    return a_stream(events(5) + events(5, partition=1), partitions=2)


@pytest.mark.parametrize("how", ["missing", "changed"])
def test_rows_of_a_lost_file_come_back_from_the_source_once(lake_root: Path, how: str) -> None:
    source = two_partitions()
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        export(lake_root, server, feed)
        source.records += events(5, first=5) + events(5, first=5, partition=1)
        export(lake_root, server, feed)
        file = harm(lake_root, feed, how)
        found = run(lake_root, None, "metadata_utils", "verify", "--deep", code=1)
        would = repair(lake_root, None, "s", code=1)
        dry = repair(lake_root, None, "s", "--yes", "--dry-run", code=1)
        done = repair(lake_root, server, "s", "--yes")
        export(lake_root, server, feed)
        run(lake_root, server, "metadata_utils", "verify", "--deep", "--source")
        again = repair(lake_root, None, "s")

    assert "hint: python metadata_utils.py repair s says what can be done\n" in found.stderr
    assert would.stdout == dry.stdout
    assert f"{file.path}: " in would.stdout
    assert f"({file.row_count} rows of partitions 0 to 1, offsets " in would.stdout
    assert would.stdout.endswith("Nothing was changed. To repair it: python metadata_utils.py repair s --yes\n")
    assert done.stdout == f"s: took 1 file out of the log, {file.row_count} rows were read again\n"
    assert places(lake_root, feed) == Counter((p, n) for p in range(2) for n in range(10))
    assert again.stdout == "s: nothing to repair\n"
    (note,) = [e["pipeline"] for e in lake_at(lake_root).table(feed).history() if e["pipeline"]["kind"] == "repair"]
    assert (note["files"], note["rows"], note["lost_rows"]) == ([file.path], file.row_count, 0)


def test_rows_that_the_source_has_no_longer_are_lost_and_the_commit_says_so(lake_root: Path) -> None:
    source = a_stream(events(10))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        export(lake_root, server, feed)
        harm(lake_root, feed, "missing")
        source.records[:4], source.log_start = [], {0: 4}
        done = repair(lake_root, server, "s", "--yes")
        source.records += events(3, first=10)
        export(lake_root, server, feed)
        run(lake_root, server, "metadata_utils", "verify", "--deep", "--source")

    assert done.stdout == "s: took 1 file out of the log, 6 rows were read again, 4 rows are lost\n"
    assert places(lake_root, feed) == Counter((0, n) for n in range(4, 13))
    (note,) = [e["pipeline"] for e in lake_at(lake_root).table(feed).history() if e["pipeline"]["kind"] == "repair"]
    assert note["lost_rows"] == 4
    assert note["places"] == ["10 rows of partition 0, offsets 0 to 9"]


def test_without_its_source_a_lost_file_waits_or_is_given_up(lake_root: Path) -> None:
    source = a_stream(events(10))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        export(lake_root, server, feed)
        harm(lake_root, feed, "missing")
        before = lake_at(lake_root).table(feed).delta_version
        away = repair(lake_root, None, "s", "--yes", code=75)
        would = repair(lake_root, None, "s", "--give-up", code=1)
        unchanged = lake_at(lake_root).table(feed).delta_version
        given_up = repair(lake_root, None, "s", "--yes", "--give-up")
        source.records += events(3, first=10)
        export(lake_root, server, feed)

    assert "cannot be reached" in away.stderr
    assert unchanged == before
    assert "\n    would be given up: their rows are not read again, and are recorded as lost\n" in would.stdout
    assert would.stdout.endswith("To repair it: python metadata_utils.py repair s --give-up --yes\n")
    assert "10 rows are given up" in given_up.stdout
    assert places(lake_root, feed) == Counter((0, n) for n in range(10, 13))
    run(lake_root, None, "metadata_utils", "verify", "--deep")


def test_rows_that_were_given_up_are_not_missed_and_can_be_read_again(lake_root: Path) -> None:
    source = a_stream(events(10))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        export(lake_root, server, feed)
        source.records += events(3, first=10)
        export(lake_root, server, feed)
        harm(lake_root, feed, "missing", index=0)
        repair(lake_root, None, "s", "--yes", "--give-up")
        (lost,) = {0: 10, 10: 3}.keys() - {place[1] for place in places(lake_root, feed)}
        given_up = run(lake_root, server, "metadata_utils", "verify", "--deep", "--source")
        source.records[0 if lost else 10].values["TEXT"] = "other"  # type: ignore[index] # it has values
        changed = run(lake_root, server, "metadata_utils", "verify", "--deep", "--source", code=1)
        command = given_up.stdout.rpartition("to read them again: python ")[2].split()
        run(lake_root, server, command[0].removesuffix(".py"), *command[1:])
        whole = run(lake_root, server, "metadata_utils", "verify", "--deep", "--source")

    count = 3 if lost else 10
    assert given_up.stdout.startswith("s: ok; ")
    assert (
        f"\n  {13 - count} rows as on the server\n  given up by a repair and still on the server: {count} rows\n"
    ) in given_up.stdout
    assert "values differ from the server's: partition 0" in changed.stdout
    assert whole.stdout.startswith("s: ok; ")
    assert whole.stdout.endswith("\n  13 rows as on the server\n")


def test_an_export_reads_no_old_files_and_verify_names_one_that_is_damaged(lake_root: Path) -> None:
    source = a_stream(events(10))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        export(lake_root, server, feed)
        (old,) = lake_at(lake_root).table(feed).files
        source.records += events(3, first=10)
        export(lake_root, server, feed)
        (folder_of(lake_at(lake_root).table(feed)) / old.path).unlink()
        nothing_due = export(lake_root, server, feed)
        found = run(lake_root, None, "metadata_utils", "verify", "--deep", code=1)

    assert nothing_due.stdout.endswith("\n1 feed exported, 0 rows\n")
    assert found.stdout == f"s: 1 problem\n  file is missing:\n    {old.path}\n"


def test_rows_of_another_topic_of_that_name_do_not_repair_a_file(lake_root: Path) -> None:
    source = a_stream(events(10))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        export(lake_root, server, feed)
        harm(lake_root, feed, "missing")
        source.records[:] = [dataclasses.replace(record, rowtime=record.rowtime + 7) for record in source.records]
        refused = repair(lake_root, server, "s", "--yes", code=1)

    assert "created" in refused.stderr
    assert lake_at(lake_root).table(feed).history()[0]["pipeline"]["kind"] == "stream"


def test_a_damaged_file_fails_its_feed_only(lake_root: Path) -> None:
    source = a_stream(events(10))
    other = dataclasses.replace(a_stream(events(3)), name="ZZZ", topic="z_topic")
    with running(Dataset([source, other])) as server:
        for feed in (feed_for(source), feed_for(other)):
            export(lake_root, server, feed)
        harm(lake_root, feed_for(source), "changed")
        table = lake_at(lake_root).table(feed_for(source))
        (folder_of(table) / table.files[0].path).write_bytes(b"no parquet")
        source.records += events(2, first=10)
        other.records += events(2, first=3)
        done = run(lake_root, server, "export_to_data_lake", "--all", code=1)

    assert "zzz: 2 rows" in done.stderr
    assert "python metadata_utils.py repair s" in done.stderr
