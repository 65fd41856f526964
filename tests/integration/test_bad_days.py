"""What goes wrong gets one clear sentence, a hint and its exit code, and loses nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.storage import hold_feed
from pipeline.lake.table import LakeTable
from tests.support import ROOT, expected_rows, feed_for, lake_rows, run_script

STREAM, TABLE = "TRANSACTION_FLATTENED", "USER_TRANSACTION_SUMMARY"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running(build(generate(400, dt.date(2026, 11, 20), seed=2))) as server:
        yield server


@pytest.fixture
def lake(lake_root: Path, emulator: Emulator) -> Path:
    for name in (STREAM, TABLE):
        FeedStore(lake_root).add(feed_for(emulator.source(name)))
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


def test_a_server_that_is_down_is_named(lake: Path) -> None:
    done = run(lake, "--all", url="http://127.0.0.1:9")

    expect(done, 75, "cannot be reached: Connection refused", "KSQLDB_URL")


def test_a_host_that_does_not_exist_is_named(lake: Path) -> None:
    expect(run(lake, "--all", url="http://no-such-host.invalid:8088"), 75, "the host name cannot be resolved")


def test_an_address_that_is_no_url_is_named(lake: Path) -> None:
    expect(run(lake, "--all", url="localhost:8088"), 1, "not an http:// or https:// URL")


def test_an_old_server_is_refused_by_name(lake_root: Path) -> None:
    with running(Dataset([], version="7.1.4")) as server:
        FeedStore(lake_root).add(feed_for(Source("X", "STREAM", (), "x", 1)))
        expect(run(lake_root, "--all", url=server.url), 1, "has version 7.1.4", "7.2")


def test_a_wrong_password_is_told_and_never_shown(lake: Path, emulator: Emulator) -> None:
    emulator.options.user, emulator.options.password = "reader", "right"

    done = stream(lake, emulator, KSQLDB_USER="reader", KSQLDB_PASSWORD="wr0ng-secret")

    expect(done, 1, "refuses these credentials", "KSQLDB_PASSWORD")
    assert "wr0ng-secret" not in done.stdout + done.stderr
    assert stream(lake, emulator, KSQLDB_USER="reader", KSQLDB_PASSWORD="right").returncode == 0


def test_tls_is_verified_and_a_wrong_authority_is_named(lake_root: Path, tmp_path: Path) -> None:
    right, wrong = trustme.CA(), trustme.CA()
    files = {name: tmp_path / f"{name}.pem" for name in ("right", "wrong", "cert", "key")}
    right.cert_pem.write_to_path(files["right"])
    wrong.cert_pem.write_to_path(files["wrong"])
    issued = right.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    dataset = build(generate(60, dt.date(2026, 11, 20)))
    FeedStore(lake_root).add(feed_for(dataset.source(STREAM)))

    with running(dataset, tls=(str(files["cert"]), str(files["key"]))) as server:
        arguments = ("--stream", STREAM.lower())
        for ca_file in ("", str(files["wrong"])):
            done = run(lake_root, *arguments, url=server.url, KSQLDB_CA_FILE=ca_file)
            expect(done, 1, "TLS certificate", "is not trusted", "KSQLDB_CA_FILE")
        missing = run(lake_root, *arguments, url=server.url, KSQLDB_CA_FILE="/nowhere.pem")
        expect(missing, 1, "a TLS file cannot be used")
        assert run(lake_root, *arguments, url=server.url, KSQLDB_CA_FILE=str(files["right"])).returncode == 0
    assert lake_rows(lake_root, feed_for(dataset.source(STREAM))) == expected_rows(dataset.source(STREAM))


def test_a_source_that_the_server_does_not_have_names_what_there_is(lake: Path, emulator: Emulator) -> None:
    FeedStore(lake).add(feed_for(Source("MISSING", "STREAM", (), "x", 1)))

    done = run(lake, "--stream", "missing", "--stream", STREAM.lower(), url=emulator.url)

    expect(done, 1, "'MISSING' does not exist", STREAM)
    assert is_complete(lake, emulator)


def test_a_session_windowed_table_is_refused(lake_root: Path) -> None:
    columns = (Column("S", parse_type("STRING"), "KEY"), Column("N", parse_type("BIGINT")))
    source = Source("SESSIONS", "TABLE", columns, "sessions", 1, window_type="SESSION")
    FeedStore(lake_root).add(feed_for(source))
    with running(Dataset([source])) as server:
        expect(run(lake_root, "--table", "sessions", url=server.url), 1, "has session windows")


def test_column_names_that_collide_are_refused(lake_root: Path) -> None:
    columns = (Column("Key", parse_type("STRING"), "KEY"), Column("KEY", parse_type("STRING")))
    source = Source("TWINS", "STREAM", columns, "twins", 1)
    FeedStore(lake_root).add(feed_for(source))
    with running(Dataset([source])) as server:
        expect(run(lake_root, "--stream", "twins", url=server.url), 1, "the column 'KEY' would be called 'key'")


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
    assert not LakeTable(lake, feed_for(emulator.source(STREAM))).files
    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


@pytest.mark.parametrize(
    "fault",
    [Fault("pull", cut_at=9_000), Fault("pull", cut_at=9_000, clean=True), Fault("pull", error_after=7)],
    ids=["FIN", "clean end", "error element"],
)
def test_a_table_answer_without_its_end_leaves_the_last_snapshot(lake: Path, emulator: Emulator, fault: Fault) -> None:
    assert table(lake, emulator).returncode == 0
    emulator.faults.add(fault)

    expect(table(lake, emulator), 75)

    assert LakeTable(lake, feed_for(emulator.source(TABLE))).current_version == 1
    assert is_complete(lake, emulator, TABLE)


@pytest.mark.parametrize(
    "fault",
    [Fault("push", chunk_bytes=7), Fault("push", trailing_comma=True), Fault("push", keep_alive=True),
     Fault("push", unchunked=True), Fault("push", replay_rows=40), Fault("push", elsewhere=True),
     Fault("push", first_byte_s=1.5)],
    ids=["tiny chunks", "trailing comma", "keep-alives", "unchunked", "duplicated rows", "closed elsewhere", "slow"],
)  # fmt: skip
def test_harmless_oddities_lose_and_double_nothing(lake: Path, emulator: Emulator, fault: Fault) -> None:
    emulator.faults.add(fault)

    done = stream(lake, emulator)

    assert done.returncode == 0, done.stderr
    assert is_complete(lake, emulator)
    assert emulator.open_queries == []


def test_a_short_but_valid_first_table_pull_is_read_again(lake: Path, emulator: Emulator) -> None:
    emulator.faults.add(Fault("pull", keep_share=0.66))

    done = table(lake, emulator)

    assert "read 2 times before it was believed" in done.stderr
    assert is_complete(lake, emulator, TABLE)


def test_a_short_but_valid_later_table_pull_is_read_again(lake: Path, emulator: Emulator) -> None:
    table(lake, emulator)
    emulator.faults.add(Fault("pull", keep_share=0.66, count=1))

    assert table(lake, emulator).returncode == 0
    assert is_complete(lake, emulator, TABLE)


def test_a_table_that_stays_short_is_not_published_unless_told(lake: Path, emulator: Emulator) -> None:
    table(lake, emulator)
    emulator.faults.add(Fault("pull", keep_share=0.5, count=0))

    refused = table(lake, emulator)
    told = table(lake, emulator, "--allow-shrink")

    expect(refused, 1, "more than 20% are gone", "--allow-shrink")
    assert told.returncode == 0
    assert LakeTable(lake, feed_for(emulator.source(TABLE))).current_version == 2


def test_a_busy_server_is_waited_for(lake: Path, emulator: Emulator) -> None:
    emulator.faults.add(Fault("pull", status=429, count=2))
    emulator.faults.add(Fault("push", status=429, count=2))

    assert run(lake, "--all", url=emulator.url).returncode == 0
    assert is_complete(lake, emulator, TABLE)


def test_a_server_that_is_starting_is_waited_for(lake: Path, emulator: Emulator) -> None:
    emulator.restart(starting_s=1.0, refuse_pulls_s=1.0)

    assert run(lake, "--all", url=emulator.url, KSQLDB_RETRY_S="20").returncode == 0
    assert is_complete(lake, emulator, TABLE)


def test_a_stalled_push_keeps_what_came_and_says_so(lake: Path, emulator: Emulator) -> None:
    emulator.faults.add(Fault("push", idle_after=100))

    done = stream(lake, emulator, STALL_S="2")

    expect(done, 75, "stalled: no progress for 2 s")
    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


def test_a_topic_made_anew_is_recognised(lake: Path, emulator: Emulator) -> None:
    stream(lake, emulator)
    everything = lake_rows(lake, feed_for(emulator.source(STREAM)))
    old = emulator.source(STREAM)
    emulator.replace_source(dataclasses.replace(old, records=old.records[:60]))

    expect(stream(lake, emulator), 1, "was re-created or cut", "archive")
    assert lake_rows(lake, feed_for(old)) == everything


def test_a_topic_made_anew_and_grown_past_the_bookmark_is_recognised(lake: Path, emulator: Emulator) -> None:
    stream(lake, emulator)
    old = emulator.source(STREAM)
    others = build(generate(900, dt.date(2026, 11, 20), seed=99)).source(STREAM).records
    emulator.replace_source(dataclasses.replace(old, records=others))

    expect(stream(lake, emulator), 1, "was re-created: offset")


def test_retention_past_the_bookmark_is_recognised_and_can_be_accepted(lake: Path, emulator: Emulator) -> None:
    stream(lake, emulator)
    source = emulator.source(STREAM)
    ends = {p: 1 + max(r.offset for r in source.records if r.partition == p) for p in range(3)}
    row = source.records[-1]
    emulator.append(STREAM, [dataclasses.replace(row, partition=0, offset=ends[0] + n) for n in range(20)])
    source.log_start = {0: ends[0] + 5}

    refused = stream(lake, emulator)
    accepted = stream(lake, emulator, "--accept-gap")

    expect(refused, 1, "may have lost rows", "--accept-gap")
    assert accepted.returncode == 0
    assert f"partition 0: offsets {ends[0]} to {ends[0] + 4} are lost" in accepted.stderr


def test_a_second_run_is_told_who_holds_the_feed(lake: Path, emulator: Emulator) -> None:
    with hold_feed(lake / "streams" / STREAM.lower(), STREAM.lower(), {"command": "nightly", "pid": "4711"}):
        expect(stream(lake, emulator), 75, "is held by another run (command nightly, pid 4711)")


def test_a_changed_column_stops_the_feed_and_leaves_the_lake(lake: Path, emulator: Emulator) -> None:
    stream(lake, emulator)
    source = emulator.source(STREAM)
    columns = tuple(
        dataclasses.replace(c, type=parse_type("STRING")) if c.name == "PRODUCT_COUNT" else c for c in source.columns
    )
    emulator.replace_source(dataclasses.replace(source, columns=columns))

    expect(stream(lake, emulator), 1, "product_count was int32 and is string")


def test_a_new_column_is_taken_over(lake: Path, emulator: Emulator) -> None:
    stream(lake, emulator)
    source = emulator.source(STREAM)
    new = dataclasses.replace(source, columns=(*source.columns, Column("CHANNEL", parse_type("STRING"))))
    new.records = [dataclasses.replace(r, values={**(r.values or {}), "CHANNEL": None}) for r in source.records]
    more = dict(new.records[-1].values or {}) | {"CHANNEL": "web"}
    end = 1 + max(r.offset for r in new.records if r.partition == 0)
    new.records.append(Record(0, end, new.records[-1].rowtime, more))
    emulator.replace_source(new)

    assert stream(lake, emulator).returncode == 0
    assert lake_rows(lake, feed_for(new)) == expected_rows(new)


def test_a_wider_type_is_taken_over_and_recorded(lake: Path, emulator: Emulator) -> None:
    stream(lake, emulator)
    source = emulator.source(STREAM)
    wider = {"PRODUCT_COUNT": parse_type("BIGINT"), "AMOUNT": parse_type("DECIMAL(18, 4)")}
    columns = tuple(dataclasses.replace(c, type=wider.get(c.name, c.type)) for c in source.columns)
    changed = dataclasses.replace(source, columns=columns)
    emulator.replace_source(changed)

    done = stream(lake, emulator)

    assert done.returncode == 0, done.stderr
    table = LakeTable(lake, feed_for(changed))
    assert str(table.schema.field("amount").type) == "decimal128(18, 4)"
    assert table.schema.field("product_count").metadata[b"ksqldb.type"] == b"BIGINT"
    assert table.history()[0]["pipeline"]["kind"] == "widen"
    assert sum(lake_rows(lake, feed_for(changed)).values()) == sum(expected_rows(changed).values())
    verified = run(lake, "verify", "--source", STREAM.lower(), url=emulator.url, script="metadata_utils.py")
    assert "as on the server" in verified.stdout, verified.stdout


def test_a_read_only_lake_is_named(lake: Path, emulator: Emulator) -> None:
    (lake / "streams").write_text("a file where a folder should be", encoding="utf-8")

    done = stream(lake, emulator)

    expect(done, 1, "the lake cannot be used")


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/mount").exists(), reason="needs root: mounts a disk")
def test_a_read_only_disk_is_named_by_every_command_that_writes(lake: Path, emulator: Emulator) -> None:
    subprocess.run(["mount", "--bind", str(lake), str(lake)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(lake)], check=True)
        commands = [
            ("export_to_data_lake.py", "--all"),
            ("sync_to_mysql.py", "--source", "lake"),
            ("metadata_utils.py", "expire"),
            ("manage_feeds.py", "disable", STREAM.lower()),
        ]
        for script, *arguments in commands:
            expect(run(lake, *arguments, url=emulator.url, script=script), 1, "the lake cannot be written", "Read-only")
    finally:
        subprocess.run(["umount", str(lake)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/mount").exists(), reason="needs root: mounts a small disk")
def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path: Path, emulator: Emulator) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False)
    assert mounted.returncode == 0, "mounting a small disk failed"
    try:
        FeedStore(disk).add(feed_for(emulator.source(STREAM)))
        (disk / "filler").write_bytes(b"x" * 150_000)
        expect(stream(disk, emulator), 1, "the disk is full", "free space")
        (disk / "filler").unlink()
        assert stream(disk, emulator).returncode == 0
        assert is_complete(disk, emulator)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_closes_the_query(
    lake: Path, emulator: Emulator, sent: signal.Signals, code: int
) -> None:
    emulator.options.rows_per_s = 100
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "export_to_data_lake.py"), "--stream", STREAM.lower()],
        env=os.environ | {"LAKE_ROOT": str(lake), "KSQLDB_URL": emulator.url},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: bool(emulator.open_queries))

    process.send_signal(sent)
    _, stderr = process.communicate(timeout=20)

    assert process.returncode == code
    assert "the next run goes on from there" in stderr
    wait_for(lambda: not emulator.open_queries)
    emulator.options.rows_per_s = 0
    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_time_limit_ends_a_run_and_the_next_goes_on(lake: Path, emulator: Emulator) -> None:
    emulator.options.rows_per_s = 150
    first = stream(lake, emulator, "--max-runtime", "1", "--json")
    emulator.options.rows_per_s = 0

    assert json.loads(first.stdout)["feeds"][0]["outcome"] == "time limit"
    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


def test_a_server_that_forbids_properties_is_read_without_them(lake: Path, emulator: Emulator) -> None:
    emulator.options.denied_properties = ("ksql.streams.num.stream.threads",)

    assert stream(lake, emulator).returncode == 0
    assert is_complete(lake, emulator)


def test_a_dry_run_changes_nothing(lake: Path, emulator: Emulator) -> None:
    done = run(lake, "--all", "--dry-run", url=emulator.url)

    assert done.returncode == 0
    assert done.stdout.endswith("Nothing was changed.\n")
    assert not (lake / "streams").exists()
    assert not (lake / "tables").exists()
