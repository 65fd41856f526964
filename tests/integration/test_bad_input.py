"""Five hundred commands of bad input: each ends in a sentence, with an exit code that its hint does not contradict."""

from __future__ import annotations

import datetime as dt
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import parse_feed
from tests.integration.bad_input import SPOILED, Attempt, all_options, all_settings, attempts, complaints
from tests.integration.commands import command, ran
from tests.support import lake_at

FEEDS = {"transaction_stream": "stream", "payment_method_totals": "table", "product_purchase_counts": "table"}
BATCHES, COMMANDS = 10, 50
_NO_STATE = ("logs", "runs/", "lock", "_metadata.json", "views.sql")
"""What a command may leave that did nothing: its log and record, notes of locks, what is derived from Delta logs."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Path:
    """A lake with two exports of three feeds, and one that is archived."""
    lake = tmp_path_factory.mktemp("template") / "lake"
    store = lake_at(lake).feeds
    for name, kind in FEEDS.items():
        store.add(parse_feed({"name": name, "type": kind, "source": name.upper()}, name))
    for _ in range(2):
        ran(lake, "export_to_data_lake", "--all", env={"KSQLDB_URL": emulator.url})
    store.add(parse_feed({"name": "old", "type": "stream", "source": "OLD"}, "old"))
    store.archive("old")
    return lake


def state(lake: Path) -> dict[str, bytes]:
    files = (path for path in lake.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(lake)): path.read_bytes()
        for path in files
        if not any(part in path.relative_to(lake).as_posix() for part in _NO_STATE)
    }


def test_every_option_and_every_setting_is_tried() -> None:
    tried = [each for batch in range(BATCHES) for each in attempts(batch, COMMANDS, tuple(FEEDS))]
    settings = {name for each in tried for name in each.settings}
    words = {each.script: set[str]() for each in tried}
    for each in tried:
        words[each.script] |= {f"{each.arguments[0]} {word}" for word in each.arguments[1:]} | set(each.arguments)

    assert len(tried) == 500
    assert settings == set(all_settings())
    for option in all_options():
        assert f"{option.command} {option.option}".strip() in words[option.script]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_bad_input_ends_in_a_sentence(
    batch: int, tmp_path: Path, template: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for files that an option names without a folder
    lake, found = tmp_path / "lake", []
    for number, attempt in enumerate(attempts(batch, COMMANDS, (*FEEDS, "old", "nope"))):
        shutil.rmtree(lake, ignore_errors=True)
        shutil.copytree(template, lake)
        if attempt.spoiled in SPOILED:
            SPOILED[attempt.spoiled](random.Random(number), lake)
        found += judged(attempt, lake, emulator)

    assert not found, "\n".join(found)


def judged(attempt: Attempt, lake: Path, emulator: Emulator) -> list[str]:
    before = state(lake)
    env = {
        "KSQLDB_URL": emulator.url,
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": "9",
        "STALL_S": "5",
        "SNAPSHOT_WAIT_S": "0",
    }

    done = command(lake, attempt.script, *attempt.arguments, env=env | dict(attempt.settings))

    wrong = complaints(attempt, done, state(lake) != before)
    return [f"{attempt}\n  exit {done.exit_code}: {'; '.join(wrong)}\n  {done.stderr[-700:]!a}"] if wrong else []
