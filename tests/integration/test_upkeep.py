"""Retention and what else a person does to the lake, from the shell: nothing goes by mistake or in silence."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline.errors import ServerUnreachable
from pipeline.feeds import Feed
from pipeline.lake.metadata import describe_feed
from pipeline.report.model import LakeState, history_of
from pipeline.report.text import history_text, report_text, stats_text, verdict_text
from pipeline.verify.files import check_files
from tests.integration.small_sources import DAY_MS, START_MS, columns, places
from tests.support import ROOT, feed_for, folder_of, lake_at, log_of, run_script

pytestmark = pytest.mark.server


def days_of(count: int) -> Source:
    """A stream with a row for each of `count` days that end today, whatever today is."""

    today = int(time.time() * 1000)
    records = [Record(0, n, today - (count - 1 - n) * DAY_MS, {"ID": n, "TEXT": f"v{n}"}) for n in range(count)]
    return Source("S", "STREAM", columns(ID="BIGINT", TEXT="STRING"), "s_topic", 1, records)


@pytest.fixture
def stream() -> Source:
    return days_of(16)


@pytest.fixture
def totals() -> Source:
    records = [Record(0, 0, START_MS, {"ID": 1, "TEXT": "one"})]
    return Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, records)


@pytest.fixture
def server(stream: Source, totals: Source) -> Iterator[Emulator]:
    with running(Dataset([stream, totals])) as emulator:
        yield emulator


def run(root: Path, server: Emulator | None, script: str, *arguments: str, code: int = 0) -> Any:
    env = {"LAKE_ROOT": str(root), "KSQLDB_URL": server.url if server else "http://127.0.0.1:9", "QUIET_S": "0.5"}
    done = run_script(f"{script}.py", *arguments, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def exported(root: Path, server: Emulator, source: Source, **fields: Any) -> Feed:
    feed = feed_for(source, **fields)
    lake_at(root).feeds.save(feed)
    run(root, server, "export_to_data_lake", f"--{feed.type}", feed.name)
    return feed


def test_a_mistyped_retention_is_refused_in_an_export_that_commits_its_rows(
    lake_root: Path, server: Emulator, stream: Source
) -> None:
    feed = exported(lake_root, server, stream, retention_days=365)
    run(lake_root, server, "manage_feeds", "update", "s", "--retention-days", "1")
    stream.records.append(Record(0, 16, stream.records[-1].rowtime + 1, {"ID": 16, "TEXT": "new"}))

    held = run(lake_root, server, "export_to_data_lake", "--stream", "s", code=1)
    again = run(lake_root, server, "export_to_data_lake", "--stream", "s", "--json", code=1)

    assert "error: nothing of s expired: 14 of its 17 rows would go at once, in 14 partitions" in held.stderr
    assert "hint: if they are to go: python metadata_utils.py expire s --yes\n" in held.stderr
    assert "s: 1 row; 1 file" in held.stderr
    assert held.stdout.endswith("\n1 feed exported, 1 row, the retention of 1 feed waits for a person\n")
    (result,) = json.loads(again.stdout)["feeds"]
    assert (result["status"], result["expired_partitions"]) == ("held", [])
    assert "--yes" in result["error"]["hint"]
    assert sorted(places(lake_root, feed)) == list(range(17))


def test_a_person_lets_go_of_it_and_takes_it_back(lake_root: Path, server: Emulator, stream: Source) -> None:
    feed = exported(lake_root, server, stream, retention_days=365)
    run(lake_root, server, "manage_feeds", "update", "s", "--retention-days", "1")

    dry = run(lake_root, None, "metadata_utils", "expire", "s", "--dry-run", "--yes")
    gone = run(lake_root, None, "metadata_utils", "expire", "s", "--yes")
    small = sorted(places(lake_root, feed))
    early = run(lake_root, None, "metadata_utils", "unexpire", "s", code=1)
    command = early.stderr.rpartition("hint: python ")[2].split()
    run(lake_root, None, command[0].removesuffix(".py"), *command[1:])
    would = run(lake_root, None, "metadata_utils", "unexpire", "s", "--dry-run")
    still = sorted(places(lake_root, feed))
    back = run(lake_root, None, "metadata_utils", "unexpire", "s")
    run(lake_root, server, "export_to_data_lake", "--stream", "s")

    assert dry.stdout.startswith("s: would expire ")
    assert "(14 rows)\nNothing was changed.\n" in dry.stdout
    assert gone.stdout.count("20") >= 14
    assert small == still == [14, 15]
    assert "no expired row of s can come back: 14 rows: the feed's rule would expire them again" in early.stderr
    assert would.stdout.startswith("s: would bring back 14 rows: ")
    assert back.stdout.startswith("s: brought back 14 rows: ")
    assert sorted(places(lake_root, feed)) == list(range(16))
    run(lake_root, server, "metadata_utils", "verify", "--deep", "--source", "s")
    log = log_of(lake_root, "metadata_utils")
    assert "s: expired " in log
    assert "s: brought back 14 rows" in log


def test_update_says_what_a_shorter_retention_will_take(lake_root: Path, server: Emulator, stream: Source) -> None:
    exported(lake_root, server, stream, retention_days=365)

    much = run(lake_root, server, "manage_feeds", "update", "s", "--retention-days", "1")
    little = run(lake_root, server, "manage_feeds", "update", "s", "--retention-days", "13")
    nothing = run(lake_root, server, "manage_feeds", "update", "s", "--retention-days", "300")

    assert "14 rows in 14 partitions are past the retention of s now; exports keep them until" in much.stderr
    assert "python metadata_utils.py expire s --yes" in much.stderr
    assert "2 rows in 2 partitions are past the retention of s now: the next export expires them" in little.stderr
    assert nothing.stderr == ""


def test_archived_feeds_expire_too(lake_root: Path, server: Emulator, stream: Source, totals: Source) -> None:
    feed = exported(lake_root, server, stream, retention_days=365)
    lake_at(lake_root).feeds.save(feed_for(stream, retention_days=14))
    run(lake_root, server, "manage_feeds", "archive", "s")
    lake_at(lake_root).feeds.save(feed_for(totals))

    everything = run(lake_root, server, "export_to_data_lake", "--all")
    assert "s (archived): expired 20" in everything.stderr
    assert sorted(places(lake_root, feed)) == list(range(1, 16))

    lake_at(lake_root).feeds.restore("s")
    lake_at(lake_root).feeds.save(feed_for(stream, retention_days=13))
    lake_at(lake_root).feeds.archive("s")
    assert "s: expired 20" in run(lake_root, None, "metadata_utils", "expire").stdout
    lake_at(lake_root).feeds.restore("s")
    lake_at(lake_root).feeds.save(feed_for(stream, retention_days=1))
    lake_at(lake_root).feeds.archive("s")
    refused = run(lake_root, server, "export_to_data_lake", "--all", code=1)
    assert "error: nothing of s expired" in refused.stderr
    assert "t: 1 row; version 2" in refused.stderr
    assert sorted(places(lake_root, feed)) == list(range(2, 16))


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_umlauts_are_said_whatever_the_locale_is(
    tmp_path: Path, server: Emulator, stream: Source, locale: dict[str, str]
) -> None:
    root = tmp_path / "Übersicht"
    exported(root, server, stream)

    def started(*arguments: str, lake: Path) -> subprocess.CompletedProcess[str]:
        """In a process of its own: what it writes as is decided when Python starts."""
        command = [sys.executable, ROOT / "metadata_utils.py", *arguments]
        env = os.environ | {"LAKE_ROOT": str(lake)} | locale
        return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", cwd=ROOT, check=False)

    for option in ("--report", "--json"):
        assert f"{tmp_path}/Übersicht" in started(option, lake=root).stdout
    assert f"there is no lake at {tmp_path}/Übersicht/fehlt" in started(lake=root / "fehlt").stderr


def test_what_is_in_the_lake_fits_into_80_columns(lake_root: Path, server: Emulator, stream: Source) -> None:
    feed = exported(lake_root, server, stream, name="n" * 30)
    (folder_of(lake_at(lake_root).table(feed)) / lake_at(lake_root).table(feed).files[0].path).unlink()
    state = LakeState("/lake", (describe_feed(lake_at(lake_root).table(feed)),))
    table = state.feeds[0].table
    assert table is not None
    much = dataclasses.replace(table.totals, row_count=99_999_999, size_bytes=9 * 10**11, file_count=99_999)
    marks = dict.fromkeys(range(12), 10**9)
    large = dataclasses.replace(table, totals=much, current_version=9_999_999, bookmark=marks)
    described = state.feeds[0].feed.model_copy(update={"description": "what it is " * 20, "retention_days": 36_500})
    lake = dataclasses.replace(state, feeds=(dataclasses.replace(state.feeds[0], feed=described, table=large),))

    verdict = check_files(lake_at(lake_root).table(feed))
    verdict = dataclasses.replace(verdict, errors=(ServerUnreachable("a server that cannot be reached " * 4, ""),))

    texts = [stats_text(lake), report_text(lake), history_text(history_of(lake_at(lake_root).table(feed)))]
    texts += [verdict_text(verdict)]

    assert all("36500 days" in text and "what it is what it is" in text for text in texts[:2])
    path = verdict.findings[0].detail
    assert [line for text in texts for line in text.splitlines() if len(line) > 80 and line.strip() != path] == []
    assert path in texts[-1]


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("--stats",), ("--report",), ("--json",), ("expire",), ("expire", "--dry-run"), ("verify", "s")],
)
def test_a_lake_that_is_not_there_is_no_empty_lake(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    absent = run(tmp_path / "not-mounted", None, "metadata_utils", *arguments, code=1)
    (tmp_path / "mount").mkdir()
    empty = run(tmp_path / "mount", None, "metadata_utils", *arguments, code=1)

    assert f"error: there is no lake at {tmp_path}/not-mounted: no such folder\n" in absent.stderr
    assert f"error: there is no lake at {tmp_path}/mount: no feeds are there\n" in empty.stderr
    assert absent.stdout == empty.stdout == ""
    assert not (tmp_path / "not-mounted").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("manage_feeds", "list"),
        ("manage_feeds", "list", "--json"),
        ("manage_feeds", "show", "s"),
        ("manage_feeds", "enable", "s"),
        ("manage_feeds", "archive", "s"),
        ("manage_feeds", "restore", "s"),
        ("manage_feeds", "delete", "s"),
        ("manage_feeds", "delete", "s", "--confirm"),
        ("manage_feeds", "update", "s", "--owner", "me"),
        ("manage_feeds", "ddl", "s", "--save-mapping"),
        ("export_to_data_lake", "--stream", "s"),
        ("export_to_data_lake", "--all"),
        ("export_to_data_lake", "--all", "--dry-run"),
        ("sync_to_mysql", "--source", "lake"),
        ("sync_to_mysql", "--table", "s"),
    ],
)
def test_no_script_takes_a_lake_that_is_not_there_for_one_without_feeds(tmp_path: Path, words: tuple[str, ...]) -> None:
    absent = run(tmp_path / "not-mounted", None, *words, code=1)

    assert f"error: there is no lake at {tmp_path}/not-mounted: no such folder\n" in absent.stderr
    assert absent.stdout == ""
    assert not (tmp_path / "not-mounted").exists()


def test_the_csv_goes_to_stdout_or_to_a_file_that_is_named_when_it_cannot(
    lake_root: Path, server: Emulator, stream: Source
) -> None:
    exported(lake_root, server, stream)

    shown = run(lake_root, None, "metadata_utils", "--csv", "-")
    nowhere = run(lake_root, None, "metadata_utils", "--csv", "/nope/x.csv", code=1)
    folder = run(lake_root, None, "metadata_utils", "--csv", str(lake_root), code=1)

    assert shown.stdout.splitlines()[0].startswith("feed,type,source,rows")
    assert shown.stdout.splitlines()[1].startswith("s,stream,S,16,")
    assert "error: /nope/x.csv could not be written: No such file or directory\n" in nowhere.stderr
    assert f"error: {lake_root} could not be written: Is a directory\n" in folder.stderr


def test_options_before_a_command_count_or_are_refused(lake_root: Path, server: Emulator, stream: Source) -> None:
    exported(lake_root, server, stream)

    history = json.loads(run(lake_root, None, "metadata_utils", "--json", "history", "s").stdout)
    refused = run(lake_root, None, "metadata_utils", "--report", "history", "s", code=2)
    both = run(lake_root, None, "metadata_utils", "--report", "--json", code=2)

    assert (history["schema_version"], history["feed"], len(history["commits"])) == (1, "s", 2)
    assert "--report does not go with the command history" in refused.stderr
    assert "exclude each other" in both.stderr


def test_a_stream_has_no_versions_to_roll_back_to(lake_root: Path, server: Emulator, stream: Source) -> None:
    exported(lake_root, server, stream)

    done = run(lake_root, None, "metadata_utils", "rollback", "s", "--to-version", "1", code=2)

    assert "s is a stream: only tables have versions" in done.stderr
    assert "--stream" not in done.stderr


def test_a_feed_file_with_a_typo_stops_no_other_feed(lake_root: Path, server: Emulator, stream: Source) -> None:
    exported(lake_root, server, stream)
    (lake_root / "feeds" / "active" / "broken.json").write_text("{", encoding="utf-8")

    for arguments in (("--stats",), ("--report",), ("verify",), ("expire",), ("--json",)):
        done = run(lake_root, None, "metadata_utils", *arguments, code=1)
        assert "broken.json is not valid JSON" in done.stderr
        assert "s" in done.stdout.split()[0] or "s:" in done.stdout or '"s"' in done.stdout or "\ns " in done.stdout


def test_a_damaged_version_is_no_wrong_usage(lake_root: Path, server: Emulator, totals: Source) -> None:
    feed = exported(lake_root, server, totals)
    table = lake_at(lake_root).table(feed)
    (folder_of(table) / table.files[0].path).write_bytes(b"PAR1 no more")

    done = run(lake_root, None, "metadata_utils", "rollback", "t", "--to-version", "1", code=1)

    assert "is not what was written" in done.stderr
    assert "hint: see what can be done: python metadata_utils.py repair t\n" in done.stderr
