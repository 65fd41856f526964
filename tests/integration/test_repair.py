"""`repair` says what is wrong with a feed and what can be done, and with --yes leaves it sound, every row once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from tests.integration.small_sources import START_MS, a_stream, columns, events, reader_of, rows
from tests.support import feed_for, folder_of, lake_at, run_script

pytestmark = pytest.mark.server
NEVER = "http://127.0.0.1:9"


def run(root: Path, server: Emulator | None, script: str, *arguments: str, code: int = 0) -> Any:
    env = {
        "LAKE_ROOT": str(root),
        "KSQLDB_URL": server.url if server else NEVER,
        "QUIET_S": "0.5",
        "KSQLDB_RETRY_S": "1",
    }
    done = run_script(f"{script}.py", *arguments, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def export(root: Path, server: Emulator, feed: Feed, code: int = 0) -> Any:
    lake_at(root).feeds.save(feed)
    return run(root, server, "export_to_data_lake", f"--{feed.type}", feed.name, code=code)


def repair(root: Path, server: Emulator | None, name: str, *arguments: str, code: int = 0) -> Any:
    return run(root, server, "metadata_utils", "repair", name, *arguments, code=code)


def harm(root: Path, feed: Feed, how: str, index: int = 0) -> DataFile:
    table = lake_at(root).table(feed)
    file = sorted(table.files, key=lambda file: file.path)[index]
    path = folder_of(table) / file.path
    if how == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return file


def places(root: Path, feed: Feed) -> Counter[tuple[int, int]]:
    return Counter((row["rowpartition"], row["rowoffset"]) for row in rows(root, feed))


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
        found = run(lake_root, None, "metadata_utils", "verify", code=1)
        would = repair(lake_root, None, "s", code=1)
        dry = repair(lake_root, None, "s", "--yes", "--dry-run", code=1)
        done = repair(lake_root, server, "s", "--yes")
        export(lake_root, server, feed)
        run(lake_root, server, "metadata_utils", "verify", "--source")
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
        run(lake_root, server, "metadata_utils", "verify", "--source")

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
        unchanged = lake_at(lake_root).table(feed).delta_version
        given_up = repair(lake_root, None, "s", "--yes", "--give-up")
        source.records += events(3, first=10)
        export(lake_root, server, feed)

    assert "cannot be reached" in away.stderr
    assert unchanged == before
    assert "10 rows are given up" in given_up.stdout
    assert places(lake_root, feed) == Counter((0, n) for n in range(10, 13))
    run(lake_root, None, "metadata_utils", "verify")


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
        given_up = run(lake_root, server, "metadata_utils", "verify", "--source")
        source.records[0 if lost else 10].values["TEXT"] = "other"  # type: ignore[index] # it has values
        changed = run(lake_root, server, "metadata_utils", "verify", "--source", code=1)
        command = given_up.stdout.rpartition("to read them again: python ")[2].split()
        run(lake_root, server, command[0].removesuffix(".py"), *command[1:])
        whole = run(lake_root, server, "metadata_utils", "verify", "--source")

    count = 3 if lost else 10
    assert given_up.stdout.startswith(
        f"s: ok; {13 - count} rows as on the server\n  given up by a repair and still on the server: {count} rows\n"
    )
    assert "values differ from the server's: partition 0" in changed.stdout
    assert whole.stdout == "s: ok; 13 rows as on the server\n"


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
        found = run(lake_root, None, "metadata_utils", "verify", code=1)

    assert nothing_due.stdout == "1 feed exported, 0 rows\n"
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


def totals(count: int) -> Source:
    records = [Record(0, n, START_MS + n, {"ID": n, "TEXT": f"v{n}"}) for n in range(count)]
    return Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, records)


def three_versions(root: Path, server: Emulator, source: Source) -> Feed:
    feed = feed_for(source)
    for n in range(3):
        export(root, server, feed)
        source.records.append(Record(0, 50 + n, START_MS, {"ID": 50 + n, "TEXT": "more"}))
    return feed


def test_a_damaged_old_version_is_given_up(lake_root: Path) -> None:
    source = totals(4)
    with running(Dataset([source])) as server:
        feed = three_versions(lake_root, server, source)
    harm(lake_root, feed, "missing", index=1)

    would = repair(lake_root, None, "t", code=1)
    done = repair(lake_root, None, "t", "--yes")

    assert "file is missing (version 2, 5 rows)\n" in would.stdout
    assert done.stdout == "t: took 1 file out of the log, 5 rows are lost\n"
    table = lake_at(lake_root).table(feed)
    assert (list(table.versions()), table.current_version) == ([1, 3], 3)
    run(lake_root, None, "metadata_utils", "verify")


def test_in_the_place_of_a_damaged_current_version_the_newest_sound_one_is_published(lake_root: Path) -> None:
    source = totals(4)
    with running(Dataset([source])) as server:
        feed = three_versions(lake_root, server, source)
        harm(lake_root, feed, "missing", index=1)
        harm(lake_root, feed, "changed", index=2)
        done = repair(lake_root, None, "t", "--yes")
        table = lake_at(lake_root).table(feed)
        (file,) = table.versions()[4]
        assert (list(table.versions()), table.current_version, file.row_count) == ([1, 4], 4, 4)
        export(lake_root, server, feed)

    assert done.stdout == (
        "t: took 2 files out of the log, version 1 is published again as version 4, the current one, 11 rows are lost\n"
    )
    assert list(lake_at(lake_root).table(feed).versions()) == [1, 4, 5]
    run(lake_root, None, "metadata_utils", "verify")


def test_without_a_sound_version_a_new_export_comes_first(lake_root: Path) -> None:
    source = totals(4)
    with running(Dataset([source])) as server:
        feed = feed_for(source)
        export(lake_root, server, feed)
        harm(lake_root, feed, "missing")
        refused = repair(lake_root, None, "t", "--yes", code=1)
        command = refused.stderr.rpartition("hint: python ")[2].partition(",")[0].split()
        run(lake_root, server, command[0].removesuffix(".py"), *command[1:])
        repair(lake_root, None, "t", "--yes")

    table = lake_at(lake_root).table(feed)
    assert (list(table.versions()), table.current_version) == ([2], 2)


def test_a_torn_log_entry_is_removed_and_a_lost_log_needs_a_backup(lake_root: Path) -> None:
    source = a_stream(events(10))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        export(lake_root, server, feed)
        log = folder_of(lake_at(lake_root).table(feed)) / "_delta_log"
        torn = log / f"{lake_at(lake_root).table(feed).delta_version + 1:020}.json"
        torn.write_bytes(b'{"commitInfo"')
        would = repair(lake_root, None, "s", code=1)
        assert torn.exists()
        done = repair(lake_root, None, "s", "--yes")
        run(lake_root, server, "metadata_utils", "verify", "--source")

    assert f"{torn} is not whole" in would.stdout
    assert done.stdout == f"s: removed {torn}\n"
    assert not torn.exists()
    shutil.rmtree(log)
    for arguments in ((), ("--yes",)):
        lost = repair(lake_root, None, "s", *arguments, code=1)
        assert f"{log} is lost" in lost.stderr
        assert "without one: python manage_feeds.py delete s --confirm (its files stay), then add" in lost.stderr


@pytest.mark.parametrize("archived", [False, True])
def test_what_is_proposed_for_a_lost_log_ends_the_error_of_later_runs(lake_root: Path, archived: bool) -> None:
    source = a_stream(events(10))
    with running(Dataset([source])) as server:
        export(lake_root, server, feed_for(source))
        folder = folder_of(lake_at(lake_root).table(feed_for(source)))
        shutil.rmtree(folder / "_delta_log")
        if archived:
            run(lake_root, server, "manage_feeds", "archive", "s")
        lost = repair(lake_root, None, "s", code=1)
        command = lost.stderr.partition("without one: python ")[2].partition(" (")[0].split()
        run(lake_root, server, command[0].removesuffix(".py"), *command[1:])
        run(lake_root, server, "manage_feeds", "add", "--name", "s2", "--type", "stream", "--source", "S")
        run(lake_root, server, "export_to_data_lake", "--all")
        run(lake_root, server, "metadata_utils", "verify", "--source")

    assert list(folder.glob("date=*/*.parquet"))


def test_a_newest_commit_of_a_time_to_come_is_accepted_by_a_person(lake_root: Path) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        export(lake_root, server, feed)
        table = lake_at(lake_root).table(feed)
        table.accept_clock("20300101T000000Z-00000000", dt.datetime.now(dt.UTC) + dt.timedelta(days=900))
        source.records += events(2, first=5)
        refused = export(lake_root, server, feed, code=1)
        assert "python metadata_utils.py repair s" in refused.stderr
        would = repair(lake_root, None, "s", code=1)
        done = repair(lake_root, None, "s", "--yes")
        export(lake_root, server, feed)

    assert "would go on from this machine's clock; only if it is right" in would.stdout
    assert done.stdout == "s: goes on from this machine's clock\n"
    assert places(lake_root, feed) == Counter((0, n) for n in range(7))


def test_what_no_repair_mends_is_said(lake_root: Path) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        export(lake_root, server, feed)
    table = lake_at(lake_root).table(feed)
    (file,) = table.files
    path = folder_of(table) / file.path
    twice = path.with_name(path.name.replace("-00000-", "-00001-"))
    shutil.copy(path, twice)
    entry = folder_of(table) / "_delta_log" / f"{table.delta_version:020}.json"
    lines = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    (add,) = [line for line in lines if "add" in line]
    lines.append({"add": add["add"] | {"path": add["add"]["path"].replace("-00000-", "-00001-")}})
    entry.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    done = repair(lake_root, None, "s", "--yes", code=1)

    assert "row is there more than once: partition 0 offset 0: 2" in done.stdout
    assert "python export_to_data_lake.py --stream s --full" in done.stdout
