"""Ctrl-C and SIGTERM end every command, whatever it waits for: with what was committed, and no query left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_lake_config import PROJECT_ROOT
from demo.private_mysql import PrivateServer
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.state import POLL_RECORDS
from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S
from pipeline.ksqldb.framing import PARSE_BYTES
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server
from tests.support import wait_until
from tests.torture.figures import Figure
from tests.torture.trial import PROMISES, Running, Trial
from tests.torture.victim import scene

PATIENT = {"KSQLDB_RETRY_S": "3600", "KSQLDB_TIMEOUT_S": "3600", "STALL_S": "3600"}
SIGNALS = pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
pytestmark = pytest.mark.server


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with scene(tmp_path, rows=300) as stage:
        yield Trial("signals", stage, Figure("F", "signals", PROMISES), tmp_path)


def ends_by(running: Running, ready: Callable[[], bool], sent: signal.Signals) -> None:
    """Sends the signal once `ready`; the run, which nothing else would end, says so and shows no traceback."""
    wait_until(ready, "what the run waits for")
    os.kill(running.process.pid, sent)

    done = running()

    assert done.code == 128 + sent, done.err
    assert ("interrupted" if sent == signal.SIGINT else "terminated") in done.err
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err


def sleeps(pid: int) -> bool:
    """Whether the process's main thread is in a system call that waits."""
    return Path(f"/proc/{pid}/task/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "S"


def last_asked(trial: Trial, text: str) -> Callable[[], bool]:
    asked = len(trial.stage.emulator.requests)
    return lambda: any(text in request["path"] + request["body"] for request in trial.stage.emulator.requests[asked:])


@SIGNALS
def test_a_stream_keeps_what_was_committed_and_its_query_is_closed(trial: Trial, sent: signal.Signals) -> None:
    trial.stage.add_rows(6000)
    for record in trial.stage.emulator.source("EVENTS").records:
        assert isinstance(record.values, dict)
        record.values["TEXT"] = "x" * (2 * PARSE_BYTES // POLL_RECORDS)  # the first poll is decoded, and committed
    trial.stage.emulator.options.poll_pause_s = FOR_EVER_S
    running = trial.start("--stream", "events")

    said = running.output.with_suffix(".err")
    ends_by(running, lambda: said.exists() and "rows committed" in said.read_text(), sent)

    trial.expect_no_query()
    assert [request["path"] for request in trial.stage.emulator.requests].count("/close-query") == 1
    trial.stage.emulator.options.poll_pause_s = 0
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()
    assert not any(trial.figure.wrong.values()), trial.figure


@pytest.mark.parametrize(
    ("script", "arguments", "fault", "asked", "sent"),
    [
        ("export_to_data_lake", "--table latest", Fault("pull", idle_after=5), "FROM `LATEST`", signal.SIGTERM),
        ("export_to_data_lake", "--all", Fault("info", first_byte_s=FOR_EVER_S), "/info", signal.SIGINT),
        ("export_to_data_lake", "--all", Fault("ksql", status=503, count=0), "SHOW STREAMS", signal.SIGTERM),
        ("metadata_utils", "verify --source", Fault("push", idle_after=5), "FROM `EVENTS`", signal.SIGINT),
        ("manage_feeds", "sync --discover", Fault("info", first_byte_s=FOR_EVER_S), "/info", signal.SIGTERM),
        ("test_setup", "--no-mysql", Fault("info", first_byte_s=FOR_EVER_S), "/info", signal.SIGTERM),
    ],
    ids=["table", "silent server", "server that is not ready", "verify", "discover", "setup"],
)
def test_a_command_that_waits_for_the_server_ends(
    trial: Trial, script: str, arguments: str, fault: Fault, asked: str, sent: signal.Signals
) -> None:
    trial.expect_done(trial.run("--all"))
    ready = last_asked(trial, asked)
    trial.stage.emulator.faults.add(fault)

    ends_by(trial.start(*arguments.split(), script=script, **PATIENT), ready, sent)

    trial.stage.emulator.faults.clear()
    trial.expect_no_query()
    trial.expect_done(trial.run("--stream", "events", "--table", "latest"))
    trial.expect_complete()
    assert not any(trial.figure.wrong.values()), trial.figure


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("ksql", status=503, count=0)],
        [Fault("ksql", first_byte_s=FOR_EVER_S), Fault("close", first_byte_s=FOR_EVER_S)],
    ],
    ids=["not ready", "silent"],
)
def test_a_stream_whose_server_has_gone_quiet_ends(trial: Trial, faults: list[Fault]) -> None:
    emulator = trial.stage.emulator
    emulator.faults.add(Fault("push", idle_after=100))
    running = trial.start("--stream", "events", **PATIENT)
    trial.wait_for_query()
    ready = last_asked(trial, "SHOW QUERIES")
    for fault in faults:
        emulator.faults.add(fault)

    ends_by(running, ready, signal.SIGTERM)


@SIGNALS
@pytest.mark.mysql
def test_a_load_that_waits_for_a_lock_ends(trial: Trial, mariadb: PrivateServer, sent: signal.Signals) -> None:
    trial.mysql = {"MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port), "MYSQL_USER": mariadb.user}
    trial.name = f"signals_{sent}"
    trial.expect_done(trial.run("--all"))
    trial.expect_done(trial.sync("--init-schema"))
    trial.stage.add_rows(2)
    trial.expect_done(trial.run("--all"))
    server = Server(host=mariadb.host, port=mariadb.port, user=mariadb.user, database=trial.name)

    with Connection(server) as other, Connection(server) as watcher:
        other.run("LOCK TABLES fact_product_purchase_counts WRITE")
        running = trial.start("--source", "lake", script="sync_to_mysql", **trial.mysql, MYSQL_DATABASE=trial.name)
        waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'"
        ends_by(running, lambda: watcher.rows(waiting)[0][0] == 1, sent)

    trial.expect_done(trial.sync(), "Loaded as snapshot 2")
    assert not any(trial.figure.wrong.values()), trial.figure


def test_a_signal_that_another_thread_takes_ends_a_read_that_blocks() -> None:
    """As when a signal comes a moment before the read: the flag is set, and nothing wakes the main thread."""
    code = """if True:
        import signal, socket
        from pipeline import scripts

        @scripts.boundary
        def main():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            print("ready", flush=True)
            pair = socket.socketpair()
            pair[0].recv(1)

        main()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: sleeps(process.pid), "the read that blocks")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 143
    assert said == "terminated\n"
