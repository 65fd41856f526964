"""What goes wrong gets one clear sentence, a hint and its exit code, and loses nothing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.lake.lock import hold_feed
from tests.expected import expected_rows, lake_rows
from tests.support import feed_for, lake_at, run_script

STREAM, TABLE = "TRANSACTION_FLATTENED", "USER_TRANSACTION_SUMMARY"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running(build(generate(400, dt.date(2026, 11, 20), seed=2))) as server:
        yield server


@pytest.fixture
def lake(lake_root: Path, emulator: Emulator) -> Path:
    for name in (STREAM, TABLE):
        lake_at(lake_root).feeds.add(feed_for(emulator.source(name)))
    return lake_root


def run(lake: Path, *arguments: str, url: str, script: str = "export_to_data_lake.py", **env: str) -> Any:
    return run_script(script, *arguments, env={"LAKE_ROOT": str(lake), "KSQLDB_URL": url} | env)


def stream(lake: Path, emulator: Emulator, *arguments: str, **env: str) -> Any:
    return run(lake, "--stream", STREAM.lower(), *arguments, url=emulator.url, **env)


def table(lake: Path, emulator: Emulator, *arguments: str, **env: str) -> Any:
    return run(lake, "--table", TABLE.lower(), *arguments, url=emulator.url, **env)


def expect(done: Any, code: int, *said: str) -> None:
    """One error sentence with a hint, no traceback, and the exit code."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert "hint: " in done.stderr
    for text in said:
        assert text in done.stderr, done.stderr


def is_complete(lake: Path, emulator: Emulator, name: str = STREAM) -> bool:
    source = emulator.source(name)
    return lake_rows(lake, feed_for(source)) == expected_rows(source)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stream", "nope"], "there is no feed 'nope'"),
        (["--stream", "../../etc/passwd"], "there is no feed"),
        (["--table", STREAM.lower()], "is a stream, not a table"),
        ([], "give either --all"),
        (["--all", "--stream", STREAM.lower()], "give either --all"),
        (["--table", TABLE.lower(), "--date", "2026-11-20"], "--date is for streams"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(
    lake: Path, emulator: Emulator, arguments: list[str], said: str
) -> None:
    expect(run(lake, *arguments, url=emulator.url), 2, said)


def test_a_bad_date_is_wrong_usage(lake: Path, emulator: Emulator) -> None:
    done = stream(lake, emulator, "--date", "2026-13-01")

    assert done.returncode == 2
    assert "2026-13-01" in done.stderr


def test_an_address_that_is_no_url_is_named(lake: Path) -> None:
    expect(run(lake, "--all", url="localhost:8088"), 1, "not an http:// or https:// URL")


def test_an_old_server_is_refused_by_name(lake_root: Path) -> None:
    with running(Dataset([], version="7.1.4")) as server:
        lake_at(lake_root).feeds.add(feed_for(Source("X", "STREAM", (), "x", 1)))
        expect(run(lake_root, "--all", url=server.url), 1, "has version 7.1.4", "7.2")


def test_a_source_that_the_server_does_not_have_names_what_there_is(lake: Path, emulator: Emulator) -> None:
    lake_at(lake).feeds.add(feed_for(Source("MISSING", "STREAM", (), "x", 1)))

    done = run(lake, "--stream", "missing", "--stream", STREAM.lower(), url=emulator.url)

    expect(done, 1, "'MISSING' does not exist", STREAM)
    assert is_complete(lake, emulator)


def test_a_session_windowed_table_is_refused(lake_root: Path) -> None:
    columns = (Column("S", parse_type("STRING"), "KEY"), Column("N", parse_type("BIGINT")))
    source = Source("SESSIONS", "TABLE", columns, "sessions", 1, window_type="SESSION")
    lake_at(lake_root).feeds.add(feed_for(source))
    with running(Dataset([source])) as server:
        expect(run(lake_root, "--table", "sessions", url=server.url), 1, "has session windows")


def test_column_names_that_collide_are_refused(lake_root: Path) -> None:
    columns = (Column("Key", parse_type("STRING"), "KEY"), Column("KEY", parse_type("STRING")))
    source = Source("TWINS", "STREAM", columns, "twins", 1)
    lake_at(lake_root).feeds.add(feed_for(source))
    with running(Dataset([source])) as server:
        expect(run(lake_root, "--stream", "twins", url=server.url), 1, "the column 'KEY' would be called 'key'")


def test_a_failed_export_tells_its_reason_before_that_of_its_metadata(lake_root: Path) -> None:
    source = Source("S", "STREAM", (Column("N", parse_type("BIGINT")),), "s", 1, [Record(0, 0, 1, {"N": 1})])
    lake_at(lake_root).feeds.add(feed_for(source))
    metadata = lake_root / "streams" / "s" / "_metadata.json"
    with running(Dataset([source])) as server:
        assert run(lake_root, "--stream", "s", url=server.url).returncode == 0
        source.records[:] = [Record(0, 0, 2, {"N": 1})]
        metadata.unlink()
        metadata.mkdir()
        done = run(lake_root, "--stream", "s", url=server.url)

    expect(done, 1, "was recreated", f"; besides, the lake cannot be used: {metadata}", "add a new feed for the topic")


def test_a_malformed_feed_file_is_named_and_nothing_is_exported(lake: Path, emulator: Emulator) -> None:
    (lake / "feeds" / "active" / "broken.json").write_text('{"name": "broken", "typ": "stream"}', encoding="utf-8")

    expect(run(lake, "--all", url=emulator.url), 1, "broken.json breaks a rule", "typ")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("push", cut_at=20_000),
        Fault("push", cut_at=20_000, reset=True),
        Fault("push", cut_at=20_000, clean=True),
        Fault("push", error_after=50),
        Fault("push", no_bracket=True),
    ],
    ids=["FIN", "RST", "clean end", "error element", "no bracket"],
)
def test_a_stream_answer_without_its_end_is_not_taken(lake: Path, emulator: Emulator, fault: Fault) -> None:
    emulator.faults.add(fault)

    done = stream(lake, emulator)

    expect(done, 75, "run the same command again")
    assert not lake_at(lake).table(feed_for(emulator.source(STREAM))).files
    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


def test_a_run_that_ends_badly_tells_what_it_committed(lake: Path, emulator: Emulator) -> None:
    emulator.faults.add(Fault("push", idle_after=300))

    done = stream(lake, emulator, "--json", COMMIT_ROWS="100", STALL_S="3")

    expect(done, 75, "stalled")
    (result,) = json.loads(done.stdout)["feeds"]
    assert 0 < result["rows"] == lake_rows(lake, feed_for(emulator.source(STREAM))).total()


@pytest.mark.parametrize(
    "fault",
    [{"cut_at": 9_000}, {"cut_at": 9_000, "clean": True}, {"error_after": 7}],
    ids=["FIN", "clean end", "error element"],
)
def test_a_table_answer_without_its_end_is_asked_for_again_and_leaves_the_last_snapshot_where_it_stays_so(
    lake: Path, emulator: Emulator, fault: dict[str, Any]
) -> None:
    assert table(lake, emulator).returncode == 0
    always = emulator.faults.add(Fault("pull", **fault, count=0))

    expect(table(lake, emulator, SNAPSHOT_WAIT_S="2"), 75)

    assert lake_at(lake).table(feed_for(emulator.source(TABLE))).current_version == 1
    assert is_complete(lake, emulator, TABLE)
    assert always.used > 1
    emulator.faults.clear()
    emulator.faults.add(Fault("pull", **fault))
    assert table(lake, emulator).returncode == 0
    assert is_complete(lake, emulator, TABLE)


@pytest.mark.parametrize(
    "fault",
    [Fault("push", chunk_bytes=7), Fault("push", trailing_comma=True), Fault("push", keep_alive=True),
     Fault("push", unchunked=True), Fault("push", elsewhere=True),
     Fault("push", first_byte_s=1.5)],
    ids=["tiny chunks", "trailing comma", "keep-alives", "unchunked", "closed elsewhere", "slow"],
)  # fmt: skip
def test_harmless_oddities_lose_and_double_nothing(lake: Path, emulator: Emulator, fault: Fault) -> None:
    emulator.faults.add(fault)

    done = stream(lake, emulator)

    assert done.returncode == 0, done.stderr
    assert is_complete(lake, emulator)
    assert emulator.open_queries == []


def test_a_busy_server_is_waited_for(lake: Path, emulator: Emulator) -> None:
    emulator.faults.add(Fault("pull", status=429, count=2))
    emulator.faults.add(Fault("push", status=429, count=2))

    assert run(lake, "--all", url=emulator.url).returncode == 0
    assert is_complete(lake, emulator, TABLE)


def test_a_second_run_is_told_who_holds_the_feed(lake: Path, emulator: Emulator) -> None:
    with hold_feed(lake / "streams" / STREAM.lower(), STREAM.lower(), {"command": "nightly", "pid": "4711"}):
        expect(stream(lake, emulator), 75, "is held by another run (command nightly, pid 4711)")


def test_a_time_limit_ends_a_run_and_the_next_goes_on(lake: Path, emulator: Emulator) -> None:
    emulator.options.rows_per_s = 150
    first = stream(lake, emulator, "--max-runtime", "1", "--json")
    emulator.options.rows_per_s = 0

    assert json.loads(first.stdout)["feeds"][0]["outcome"] == "time limit"
    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


def test_a_dry_run_changes_nothing(lake: Path, emulator: Emulator) -> None:
    done = run(lake, "--all", "--dry-run", url=emulator.url)

    assert done.returncode == 0
    assert done.stdout.endswith("Nothing was changed.\n")
    assert not (lake / "streams").exists()
    assert not (lake / "tables").exists()
