"""Numbers that fit what the command line takes, and no table: they are refused before anything is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from tests.integration.commands import ran
from tests.support import add_default_feeds, lake_at

TABLE = "payment_method_totals"
LARGE = ["2147483647", "2147483648", "9" * 25]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


@pytest.fixture
def lake(lake_root: Path, emulator: Emulator) -> Path:
    add_default_feeds(lake_root)
    ran(lake_root, "export_to_data_lake", "--table", TABLE, env={"KSQLDB_URL": emulator.url})
    return lake_root


def versions(lake: Path) -> list[int]:
    return list(lake_at(lake).table(lake_at(lake).feeds.get(TABLE)).versions())


@pytest.mark.parametrize("number", LARGE)
def test_a_version_that_leaves_no_number_for_the_next_one_is_refused(
    lake: Path, emulator: Emulator, number: str
) -> None:
    env = {"KSQLDB_URL": emulator.url}

    for dry in ([], ["--dry-run"]):
        done = ran(lake, "export_to_data_lake", "--table", TABLE, "--version", number, *dry, code=2, env=env)
        assert number in done.stderr
        assert "is no version" in done.stderr
        assert "\nhint: " in done.stderr
    ran(lake, "export_to_data_lake", "--table", TABLE, env=env)

    assert versions(lake) == [1, 2]


@pytest.mark.parametrize("number", LARGE)
def test_a_version_that_is_not_there_is_not_rolled_back_to(lake: Path, number: str) -> None:
    ran(lake, "metadata_utils", "rollback", TABLE, "--to-version", number, code=2)

    assert versions(lake) == [1]


@pytest.mark.parametrize("number", LARGE)
@pytest.mark.parametrize("option", ["--retention-versions", "--retention-days"])
def test_a_retention_of_any_size_stops_no_export(lake: Path, emulator: Emulator, option: str, number: str) -> None:
    words = ("update", TABLE, option, number)
    ran(lake, "manage_feeds", *words, code=2, env={"KSQLDB_URL": emulator.url})
    ran(lake, "export_to_data_lake", "--table", TABLE, env={"KSQLDB_URL": emulator.url})

    assert versions(lake) == [1, 2]
