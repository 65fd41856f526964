"""What is left of a deleted feed: a new feed goes on from it, or it is deleted too, and every hint can be followed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from pipeline.lake.lock import hold_feed
from tests.integration.commands import command, ran
from tests.lake.small_tables import stream_feed, table_feed
from tests.support import lake_at

STREAM = ("--name", "one", "--type", "stream", "--source", "TRANSACTION_STREAM")
TABLE = ("--name", "one", "--type", "table", "--source", "PAYMENT_METHOD_TOTALS")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(20, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


def deleted(root: Path, emulator: Emulator, *feed: str) -> dict[str, str]:
    """The lake's only feed, exported and then deleted without its data; the environment of the commands."""
    env = {"KSQLDB_URL": emulator.url}
    ran(root, "manage_feeds", "add", *feed, env=env)
    ran(root, "export_to_data_lake", f"--{feed[3]}", "one", env=env)
    ran(root, "manage_feeds", "delete", "one", "--confirm")
    return env


@pytest.mark.parametrize(
    ("before", "other"),
    [(STREAM, "TRANSACTION_FLATTENED"), (TABLE, "USER_TRANSACTION_SUMMARY")],
    ids=["stream", "table"],
)
def test_what_does_not_fit_the_rows_that_are_left_is_added_by_either_way_of_the_hint(
    lake_root: Path, emulator: Emulator, before: tuple[str, ...], other: str
) -> None:
    env = deleted(lake_root, emulator, *before)
    wanted = (*before[2:4], "--source", other)

    refused = ran(lake_root, "manage_feeds", "add", "--name", "one", *wanted, code=2, env=env)
    ran(lake_root, "manage_feeds", "add", "--name", "two", *wanted, env=env)
    ran(lake_root, "manage_feeds", "delete", "two", "--confirm")
    ran(lake_root, "manage_feeds", "delete", "one", "--data", "--confirm")
    ran(lake_root, "manage_feeds", "add", "--name", "one", *wanted, env=env)

    assert refused.stderr.splitlines()[1:] == [
        "hint: add it under another --name, or delete the rows: python manage_feeds.py delete one --data"
    ]
    ran(lake_root, "export_to_data_lake", f"--{before[3]}", "one", env=env)


def test_the_data_that_is_left_of_a_feed_is_deleted_when_that_is_confirmed(lake_root: Path, emulator: Emulator) -> None:
    deleted(lake_root, emulator, *STREAM)
    deleted(lake_root, emulator, *TABLE)
    folders = [lake_root / kind / "one" for kind in ("streams", "tables")]

    told = ran(lake_root, "manage_feeds", "delete", "one", "--data")
    with hold_feed(folders[0], "one", {"command": "an export"}):
        ran(lake_root, "manage_feeds", "delete", "one", "--data", "--confirm", code=75)
    there = [folder.exists() for folder in folders]
    done = ran(lake_root, "manage_feeds", "delete", "one", "--data", "--confirm")

    assert told.stdout == (
        f"would delete all data that is left of the deleted feed one in {folders[0]} and {folders[1]}; "
        "add --confirm to do it\nNothing was changed.\n"
    )
    assert there == [True, True]
    assert done.stdout == "deleted the data that was left of one\n"
    assert not any(folder.exists() for folder in folders)


def test_a_feed_that_is_there_is_deleted_without_what_an_older_one_of_its_name_left(
    lake_root: Path, emulator: Emulator
) -> None:
    env = deleted(lake_root, emulator, *STREAM)
    ran(lake_root, "manage_feeds", "add", *TABLE, env=env)

    ran(lake_root, "manage_feeds", "delete", "one", "--data", "--confirm")

    assert (lake_root / "streams" / "one").exists()
    assert not (lake_root / "tables" / "one").exists()
    assert lake_at(lake_root).feeds.list().feeds == ()


@pytest.mark.parametrize("name", ["nope", "../feeds", ".", "", "one/_delta_log"])
def test_a_name_that_has_neither_feed_nor_data_is_refused(lake_root: Path, emulator: Emulator, name: str) -> None:
    deleted(lake_root, emulator, *STREAM)
    lake_at(lake_root).feeds.add(table_feed())

    refused = command(lake_root, "manage_feeds", "delete", "--name", name, "--data", "--confirm")

    assert (refused.exit_code, f"there is no feed {name!r}" in refused.stderr) == (2, True)
    assert (lake_root / "streams" / "one" / "_delta_log").exists()


def test_unreadable_records_that_are_left_are_those_of_a_stream(lake_root: Path) -> None:
    lake = lake_at(lake_root)
    Path(lake.place_of(stream_feed(name="one").of_unreadable())).mkdir(parents=True)

    assert [feed.type for feed in lake.left_of("one")] == ["stream"]
