"""`repair` of a table's versions, of a log that is torn or lost, and of a commit of a time to come."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import Feed
from tests.integration.repairs import export, harm, places, repair, run
from tests.integration.small_sources import START_MS, a_stream, columns, events
from tests.support import feed_for, folder_of, lake_at


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
    run(lake_root, None, "metadata_utils", "verify", "--deep")


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
    run(lake_root, None, "metadata_utils", "verify", "--deep")


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
        run(lake_root, server, "metadata_utils", "verify", "--deep", "--source")

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
        run(lake_root, server, "metadata_utils", "verify", "--deep", "--source")

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
