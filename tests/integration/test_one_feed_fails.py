"""One feed that fails, for whatever reason, stops no other; and two runs of all feeds do not mix."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from pipeline.export import run
from pipeline.feeds import parse_feed
from pipeline.lake.lock import hold_run
from tests.integration.commands import ran
from tests.support import lake_at

STREAM, TABLE = "transaction_stream", "payment_method_totals"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


@pytest.fixture
def lake(lake_root: Path) -> Path:
    """A lake with a stream, a table, and a feed that comes before both by its name."""
    store = lake_at(lake_root).feeds
    kinds = {STREAM: "stream", TABLE: "table", "a_first": "stream"}
    for name, kind in kinds.items():
        source = "TRANSACTION_FLATTENED" if name == "a_first" else name.upper()
        store.add(parse_feed({"name": name, "type": kind, "source": source}, name))
    return lake_root


def broken_file(root: Path, name: str, text: str | bytes) -> Path:
    path = root / "feeds" / "active" / f"{name}.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


BROKEN: dict[str, str | bytes] = {
    "a comma is missing": '{"name": "a_first" "type": "stream"}',
    "an unknown key": '{"name": "a_first", "type": "stream", "source": "TRANSACTION_FLATTENED", "retention_day": 3}',
    "beyond the calendar": '{"name": "a_first", "type": "stream", "source": "TRANSACTION_FLATTENED", '
    '"retention_days": 999999}',
    "nested deeply": '{"tags": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "Latin-1": '{"name": "a_first", "description": "Zürich"}'.encode("latin-1"),
    "no object": "[]",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_feed_file_fails_its_feed_only(lake: Path, emulator: Emulator, case: str) -> None:
    path = broken_file(lake, "a_first", BROKEN[case])
    env = {"KSQLDB_URL": emulator.url}

    everything = ran(lake, "export_to_data_lake", "--all", "--json", code=1, env=env)
    one = ran(lake, "export_to_data_lake", "--stream", STREAM, env=env)
    setup = ran(lake, "test_setup", "--no-mysql", code=1, env=env)

    results = {feed["feed"]: feed for feed in json.loads(everything.stdout)["feeds"]}
    assert {name: feed["status"] for name, feed in results.items()} == {"a_first": "failed", STREAM: "ok", TABLE: "ok"}
    assert str(path) in results["a_first"]["error"]["message"]
    assert "archive a_first" in results["a_first"]["error"]["hint"]
    assert "1 feed exported, " in one.stdout
    assert str(path) in setup.stdout


def test_a_broken_feed_file_can_be_put_away_and_deleted(lake: Path) -> None:
    broken_file(lake, "a_first", "{")
    broken_file(lake, "a second", "{")

    listed = ran(lake, "manage_feeds", "list", code=1)
    ran(lake, "manage_feeds", "update", TABLE, "--owner", "treasury")
    ran(lake, "manage_feeds", "archive", "a_first")
    deleted = ran(lake, "manage_feeds", "delete", "a second", "--confirm")
    ran(lake, "manage_feeds", "delete", "a_first", "--confirm")

    assert STREAM in listed.stdout
    assert "archive 'a second'" in listed.stderr
    assert "deleted a second" in deleted.stdout
    assert ran(lake, "manage_feeds", "list").stderr == ""


def test_what_nobody_expected_fails_one_feed_and_its_traceback_is_logged(
    lake: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("nobody expects it")

    monkeypatch.setattr(run, "export_stream", fault)

    done = ran(lake, "export_to_data_lake", "--all", code=1, env={"KSQLDB_URL": emulator.url})

    (log,) = lake.glob("logs/export_to_data_lake_*.log")
    assert f"error: {STREAM} failed by a fault of this program (ZeroDivisionError)" in done.stderr
    assert f"which is in {log}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "nobody expects it" in log.read_text(encoding="utf-8")
    assert "1 feed exported, " in done.stdout
    assert lake_at(lake).table(lake_at(lake).feeds.get(TABLE)).current_version == 1


@pytest.mark.parametrize("days", ["999999", "36501", "99999999999999999999"])
def test_a_retention_beyond_the_calendar_is_refused_when_it_is_set(lake: Path, days: str) -> None:
    add = ("add", "--name", "x", "--type", "stream", "--source", "X")

    ran(lake, "manage_feeds", *add, "--retention-days", days, code=2)
    ran(lake, "manage_feeds", "update", STREAM, "--retention-days", days, code=2)

    assert lake_at(lake).feeds.get(STREAM).retention_days is None


def test_the_second_run_of_all_feeds_ends_at_once_and_names_the_first(lake: Path, emulator: Emulator) -> None:
    env = {"KSQLDB_URL": emulator.url}
    with hold_run(lake, {"command": "the first", "pid": "7"}):
        second = ran(lake, "export_to_data_lake", "--all", code=75, env=env)
        (lake / ".run.json").unlink()  # as it is for a moment after the first run has begun
        early = ran(lake, "export_to_data_lake", "--all", code=75, env=env)
        ran(lake, "export_to_data_lake", "--table", TABLE, env=env)

    assert "is held by another run (command the first, pid 7)" in second.stderr
    assert "is held by another run\n" in early.stderr
    ran(lake, "export_to_data_lake", "--all", env=env)
