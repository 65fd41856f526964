"""Commands that cannot be meant as they are typed: what is refused, and what is said of it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from pipeline.options import Moment, RunName
from tests.integration.commands import command, ran
from tests.support import add_default_feeds, lake_at, log_of

STREAM, TABLE = "transaction_stream", "payment_method_totals"
WRITE_A_TIME = "write YYYY-MM-DDTHH:MM:SSZ in UTC, as 2026-11-30T09:33:00Z, or a day, as 2026-11-30"
AWAY = {"KSQLDB_URL": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


@pytest.fixture
def lake(lake_root: Path) -> Path:
    add_default_feeds(lake_root)
    return lake_root


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--table", TABLE, "--full"), "--full is for streams"),
        (("--table", TABLE, "--accept-gap"), "--accept-gap is for streams"),
        (("--stream", STREAM, "--allow-shrink"), "--allow-shrink is for tables"),
        (("--stream", STREAM, "--table", TABLE, "--full"), f"--full is for streams, and {TABLE} is a table"),
        (("--stream", STREAM, "--table", TABLE, "--accept-gap"), f"--accept-gap is for streams, and {TABLE} is"),
        (("--stream", STREAM, "--table", TABLE, "--allow-shrink"), f"--allow-shrink is for tables, and {STREAM} is"),
        (("--all", "--date", "2026-11-20"), "--date is for streams only"),
        (("--stream", STREAM, "--date", "2026-11-20", "--full"), "--date and --full exclude each other"),
        (("--stream", STREAM, "--date", "2026-11-20", "--accept-gap"), "--date reads what the lake has already"),
        (("--all", "--version", "3"), "--version is for one table"),
        (("--stream", "transaction_strem"), "there is no feed 'transaction_strem'"),
    ],
)
def test_an_option_that_would_count_for_nothing_is_refused(lake: Path, arguments: tuple[str, ...], said: str) -> None:
    done = ran(lake, "export_to_data_lake", *arguments, code=2, env=AWAY)

    assert f"error: {said}" in done.stderr
    assert "\nhint: " in done.stderr


@pytest.mark.parametrize("option", ["--full", "--accept-gap", "--allow-shrink"])
def test_with_all_an_option_counts_for_the_feeds_that_it_fits(lake: Path, emulator: Emulator, option: str) -> None:
    done = ran(lake, "export_to_data_lake", "--all", "--dry-run", option, env={"KSQLDB_URL": emulator.url})

    assert done.stdout == "Nothing was changed.\n"


def test_an_expiry_without_a_rule_is_wrong_usage_wherever_the_server_is(lake: Path) -> None:
    done = ran(lake, "sync_to_mysql", "expire", code=2, env={"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "9"})

    assert "no rule says which snapshots to keep" in done.stderr


def test_lists_fit_a_terminal(lake: Path) -> None:
    long = "a" * 90
    ran(lake, "manage_feeds", "add", "--name", long, "--type", "table", "--source", "B" * 70, env=AWAY)

    lines = ran(lake, "manage_feeds", "list").stdout.splitlines()
    setup = ran(lake, "test_setup", "--no-mysql", code=1, env=AWAY | {"KSQLDB_ULR": "x"}).stdout.splitlines()

    assert long in lines
    assert f"  {'B' * 70}" in lines
    assert max(len(line) for line in lines if line != long) <= 80
    sentences = [line for line in setup if "hint: " not in line and str(lake) not in line]
    assert max(map(len, sentences)) <= 80


def test_a_dry_run_counts_no_rows(lake: Path, emulator: Emulator) -> None:
    env = {"KSQLDB_URL": emulator.url}

    text = ran(lake, "export_to_data_lake", "--all", "--dry-run", env=env)
    as_json = ran(lake, "export_to_data_lake", "--all", "--dry-run", "--json", env=env)

    assert " row" not in text.stderr
    assert f"{TABLE}: would be version 1; " in text.stderr
    assert {feed["rows"] for feed in json.loads(as_json.stdout)["feeds"]} == {None}


def test_fields_can_be_cleared(lake: Path) -> None:
    ran(lake, "manage_feeds", "update", TABLE, "--owner", "o", "--tag", "t", "--retention-days", "9", env=AWAY)

    done = ran(lake, "manage_feeds", "update", TABLE, "--owner", "", "--description", "", "--tag", "",
               "--retention-days", "none", "--retention-versions", "none", env=AWAY)  # fmt: skip

    feed = lake_at(lake).feeds.get(TABLE)
    assert (feed.owner, feed.description, feed.tags) == ("", "", ())
    assert (feed.retention_days, feed.retention_versions) == (None, None)
    assert "retention_versions = none" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--type", "stream", "--source", "NOPE"), "the ksqlDB source 'NOPE' does not exist on the server"),
        (("--type", "table", "--source", "TRANSACTION_STREAM"), "TRANSACTION_STREAM is a stream on the server"),
        (("--type", "stream", "--source", "TRANSACTION_STREAM", "--partitioning", "date:NOPE"), "the column 'NOPE'"),
        (("--type", "stream", "--source", "TRANSACTION_STREAM", "--partitioning", "date:"), "not 'date:'"),
        (("--type", "stream", "--source", "TRANSACTION_STREAM", "--description", "Z\udcfcrich"), "is not UTF-8"),
    ],
)
def test_a_feed_that_could_never_be_exported_is_refused(
    lake: Path, emulator: Emulator, arguments: tuple[str, ...], said: str
) -> None:
    done = ran(lake, "manage_feeds", "add", "--name", "x", *arguments, code=2, env={"KSQLDB_URL": emulator.url})

    assert said in done.stderr
    assert "\nhint: " in done.stderr
    assert len(lake_at(lake).feeds.list().feeds) == 8


def test_a_feed_is_added_without_a_server_too_and_that_is_said(lake: Path) -> None:
    done = ran(lake, "manage_feeds", "add", "--name", "x", "--type", "stream", "--source", "NOPE", env=AWAY)

    assert "no server was asked whether NOPE can be exported so" in done.stderr
    assert lake_at(lake).feeds.get("x").source == "NOPE"


def test_a_table_that_has_data_is_added_and_changed_as_one_that_has_none(lake: Path, emulator: Emulator) -> None:
    env = {"KSQLDB_URL": emulator.url}
    ran(lake, "export_to_data_lake", "--table", TABLE, env=env)
    ran(lake, "manage_feeds", "update", TABLE, "--read-from", "ksqldb", env=env)
    ran(lake, "manage_feeds", "delete", TABLE, "--confirm")

    ran(lake, "manage_feeds", "add", "--name", TABLE, "--type", "table", "--source", TABLE, env=env)

    assert "would be version 2" in ran(lake, "export_to_data_lake", "--table", TABLE, "--dry-run", env=env).stderr


def test_a_partitioning_that_the_source_does_not_have_is_refused(lake: Path, emulator: Emulator) -> None:
    for column in ("NOPE", "user_id"):
        words = ("update", STREAM, "--partitioning", f"date:{column}")
        done = ran(lake, "manage_feeds", *words, code=2, env={"KSQLDB_URL": emulator.url})

        (choice,) = re.findall(r"^hint: .*: (date.*)$", done.stderr, re.MULTILINE)
        assert lake_at(lake).feeds.get(STREAM).partitioning == "date"
        for partitioning in reversed(choice.split(", ")):
            words = ("update", STREAM, "--partitioning", partitioning)
            ran(lake, "manage_feeds", *words, env={"KSQLDB_URL": emulator.url})
            assert lake_at(lake).feeds.get(STREAM).partitioning == partitioning


def test_the_name_of_an_archived_feed_is_brought_back(lake: Path) -> None:
    ran(lake, "manage_feeds", "archive", TABLE)

    done = ran(lake, "manage_feeds", "add", "--name", TABLE, "--type", "table", "--source", "X", code=2, env=AWAY)

    assert f"hint: to bring it back: python manage_feeds.py restore {TABLE}" in done.stderr
    ran(lake, "manage_feeds", "restore", TABLE)


def test_a_feed_that_is_there_already_is_shown_and_changed_by_the_hint(lake: Path) -> None:
    done = ran(lake, "manage_feeds", "add", "--name", TABLE, "--type", "table", "--source", "X", code=2, env=AWAY)

    (hint,) = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    commands = re.findall(r"python manage_feeds.py ([^;]+)", hint)
    assert [line.split()[0] for line in commands] == ["show", "update"]
    assert all(ran(lake, "manage_feeds", *line.split()).stdout for line in commands)


def test_an_unknown_key_of_a_feed_file_is_named_with_the_nearest_one(lake: Path) -> None:
    path = lake / "feeds" / "active" / f"{TABLE}.json"
    feed = json.loads(path.read_text(encoding="utf-8"))
    feed["warehouse"]["colums"] = feed["warehouse"].pop("columns")
    feed |= {"retention_vesions": 7, "enabled": "perhaps", "tags": 3, "type": "tabel"}
    path.write_text(json.dumps(feed), encoding="utf-8")

    done = ran(lake, "manage_feeds", "show", TABLE, code=1)

    for said in (
        "retention_vesions is not known; did you mean retention_versions?",
        "warehouse.colums is not known; did you mean columns?",
        "warehouse.columns is missing",
        "enabled must be true or false",
        "tags must be a list",
        "type must be 'stream' or 'table'",
    ):
        assert said in done.stderr
    for theirs in ("Extra inputs", "Input should", "Field required", "valid", "pydantic"):
        assert theirs not in done.stderr


def test_commands_that_change_something_are_logged(lake: Path, emulator: Emulator) -> None:
    ran(lake, "manage_feeds", "disable", TABLE)
    ran(lake, "manage_feeds", "archive", TABLE)
    ran(lake, "manage_feeds", "delete", TABLE, "--confirm")
    ran(lake, "export_to_data_lake", "--stream", STREAM, env={"KSQLDB_URL": emulator.url})

    feeds = log_of(lake, "manage_feeds")
    export = log_of(lake, "export_to_data_lake")
    for said in (f"disabled {TABLE}", f"archived {TABLE}", f"deleted {TABLE}"):
        assert said in feeds
    assert " 1 feed exported, " in export


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("manage_feeds", ("list", "--json")),
        ("manage_feeds", ("show", TABLE)),
        ("metadata_utils", ("--json",)),
        ("metadata_utils", ("verify", "--json")),
        ("data_lake_config", ("--json",)),
    ],
)
def test_json_is_one_object_with_a_version(lake: Path, script: str, arguments: tuple[str, ...]) -> None:
    done = command(lake, script, *arguments, env=AWAY)

    assert json.loads(done.stdout)["schema_version"] == 1


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("export_to_data_lake", ("--stream", STREAM, "--date", "2026-02-30"), "there is no day 2026-02-30."),
        (
            "export_to_data_lake",
            ("--stream", STREAM, "--date", "30.11.2026"),
            "'30.11.2026' is no date: write YYYY-MM-DD, as 2026-11-30.",
        ),
        ("metadata_utils", ("sql", "SELECT 1", "--as-of", "2026-02-30T09:33Z"), "there is no day 2026-02-30."),
        ("metadata_utils", ("sql", "SELECT 1", "--as-of", "2026-11-30T25:00Z"), "there is no time 2026-11-30T25:00Z."),
        (
            "metadata_utils",
            ("sql", "SELECT 1", "--as-of", "0001-01-01T00:00+02:00"),
            "there is no time 0001-01-01T00:00+02:00.",
        ),
        ("metadata_utils", ("sql", "SELECT 1", "--as-of", "noon"), f"'noon' is no time: {WRITE_A_TIME}."),
        (
            "metadata_utils",
            ("verify", "--since", "nope"),
            f"'nope' is no run and no time: give a run's name, as 20261130T093300Z-1a2b3c4d, or {WRITE_A_TIME}.",
        ),
        ("metadata_utils", ("verify", "--since", "2026-13-01"), "there is no day 2026-13-01."),
    ],
)
def test_a_date_that_cannot_be_meant_is_refused_in_plain_words(
    lake: Path, script: str, arguments: tuple[str, ...], said: str
) -> None:
    done = ran(lake, script, *arguments, code=2)

    assert done.stderr.endswith(f"Invalid value for '{arguments[-2]}': {said}\n")


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-11-30", "2026-11-30T00:00:00+00:00"),
        ("2026-11-30T09:33:00Z", "2026-11-30T09:33:00+00:00"),
        ("2026-11-30T09:33:00.25Z", "2026-11-30T09:33:00.250000+00:00"),
        ("2026-11-30T09:33Z", "2026-11-30T09:33:00+00:00"),
        ("2026-11-30 09:33", "2026-11-30T09:33:00+00:00"),
        ("2026-11-30T09:33:00+02:00", "2026-11-30T07:33:00+00:00"),
        ("2026-11-30T00:30-05:30", "2026-11-30T06:00:00+00:00"),
    ],
)
def test_a_moment_is_taken_in_the_usual_forms(given: str, moment: str) -> None:
    assert Moment().convert(given, None, None).isoformat() == moment
    assert RunName().convert(given, None, None) == f"{dt.datetime.fromisoformat(moment):%Y%m%dT%H%M%SZ}"


def test_a_file_is_no_lake_and_no_missing_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    done = ran(file, "metadata_utils", code=1)

    assert done.stderr == f"error: there is no lake at {file}: it is a file\nhint: set LAKE_ROOT to a folder\n"
