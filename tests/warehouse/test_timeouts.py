"""Nothing waits for ever: a server that hangs, a lock that is held, and a person's Ctrl-C."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from demo.private_mysql import PrivateServer
from ksqldb_emulator.testing import PATIENCE_S
from pipeline.errors import PipelineError, WarehouseBusy, WarehouseUnreachable
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server
from tests.support import ROOT, wait_until
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import load, method, methods, rows_of

LONG = (
    "INSERT INTO etl_rollbacks (done_at, fact_table, to_version) SELECT NOW(), column_name, SLEEP({})"
    " FROM information_schema.columns LIMIT 4"  # rows, so long each
)
FOR_EVER = LONG.format(3600)
RUNNING = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{}' AND info LIKE 'INSERT%SLEEP%'"
LONG_LOADER = """
import os, sys
from pipeline import scripts
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server

@scripts.boundary
def main():
    with Connection(Server(**eval(os.environ["SERVER"]))) as connection, connection.hold_warehouse():
        with connection.transaction():
            connection.run("INSERT INTO etl_rollbacks (done_at, fact_table, to_version) VALUES (NOW(), 'before', 1)")
            print("begun", flush=True)
            connection.run(os.environ["LONG"])

main()
"""


@pytest.fixture
def mute_server() -> Iterator[Server]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Server("127.0.0.1", listener.getsockname()[1], timeout_s=1)


@contextlib.contextmanager
def hung(server: PrivateServer) -> Iterator[None]:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def patient_server(root: Server) -> Iterator[None]:
    """A server that lets sessions wait for a lock for an hour, unless they say otherwise."""
    names = ("innodb_lock_wait_timeout", "lock_wait_timeout")
    with Connection(root) as connection:
        before = {name: connection.rows(f"SELECT @@GLOBAL.{name}")[0][0] for name in names}
        for name in names:
            connection.run(f"SET GLOBAL {name} = 3600")
        yield
        for name, value in before.items():
            connection.run(f"SET GLOBAL {name} = {value}")


def refusal(server: Server) -> PipelineError:
    with pytest.raises(PipelineError) as raised:
        load(server, methods(method("card")))
    return raised.value


def is_free(server: Server) -> bool:
    """Whether no session holds the warehouse: a server that ends one rolls back, then frees its locks."""
    with contextlib.suppress(WarehouseBusy), Connection(server) as connection, connection.hold_warehouse():
        return True
    return False


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(mute_server: Server) -> None:
    error = refusal(mute_server)

    assert isinstance(error, WarehouseUnreachable)
    assert error.message == f"MySQL at {mute_server.place} did not answer within MYSQL_TIMEOUT_S"
    assert "check that it is up, and MYSQL_HOST and MYSQL_PORT; run the same command again" in error.hint


@pytest.mark.mysql
def test_a_server_that_hangs_is_given_up_when_connecting(warehouse: Server, private_server: PrivateServer) -> None:
    with hung(private_server):
        assert "did not answer within MYSQL_TIMEOUT_S" in refusal(dataclasses.replace(warehouse, timeout_s=1)).message


@pytest.mark.mysql
@pytest.mark.parametrize("what", ["hangs", "is slow"])
def test_a_server_that_hangs_or_takes_too_long_in_a_statement_is_given_up_and_keeps_nothing_of_it(
    warehouse: Server, private_server: PrivateServer, what: str
) -> None:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(Connection(dataclasses.replace(warehouse, stall_s=2)))
        stack.enter_context(connection.hold_warehouse())
        over = threading.Event()

        def hang() -> None:
            began = RUNNING.format(warehouse.database)
            wait_until(lambda: over.is_set() or rows_of(warehouse, began) != [(0,)], "the long statement")
            if not over.is_set():
                stack.enter_context(hung(private_server))

        if what == "hangs":
            thread = threading.Thread(target=hang)
            thread.start()
            stack.callback(thread.join)
        with pytest.raises(WarehouseUnreachable, match="did not answer within MYSQL_STALL_S"):
            connection.run(LONG.format(1) if what == "hangs" else FOR_EVER)  # a hung server cannot be asked to stop
        over.set()

    wait_until(lambda: is_free(warehouse), "the end of the session")
    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_rollbacks") == [(0,)]
    assert load(warehouse, methods(method("card"))).version == 1


@pytest.mark.mysql
@pytest.mark.parametrize("held", ["rows", "table"])
def test_a_lock_that_another_session_keeps_is_waited_for_only_so_long(warehouse: Server, held: str) -> None:
    """The server's own limits are beyond what the test waits for."""
    impatient = dataclasses.replace(as_root(warehouse), lock_wait_s=1)
    with patient_server(as_root(warehouse)), Connection(as_root(warehouse)) as other:
        if held == "rows":
            other.run("UPDATE dim_payment_methods SET display_name = 'x' WHERE payment_method_id = 'card'")
            statement = "DELETE FROM dim_payment_methods WHERE payment_method_id = 'card'"
        else:
            other.run("SELECT 1 FROM dim_payment_methods")
            statement = "ALTER TABLE dim_payment_methods ADD COLUMN color INT"
        with Connection(impatient) as connection, pytest.raises(WarehouseBusy, match="locked"):
            connection.run(statement)


@pytest.mark.mysql
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_long_statement_ends_it_on_both_sides(warehouse: Server, way: signal.Signals) -> None:
    fields = {"SERVER": repr(vars(warehouse)), "LONG": FOR_EVER, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", LONG_LOADER], env=os.environ | fields, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    wait_until(lambda: rows_of(warehouse, RUNNING.format(warehouse.database)) != [(0,)], "the long statement")

    child.send_signal(way)
    _, stderr = child.communicate(timeout=PATIENCE_S)
    wait_until(lambda: is_free(warehouse), "the end of the session")

    assert child.returncode == 128 + way
    assert stderr == (b"interrupted\n" if way is signal.SIGINT else b"terminated\n")
    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_rollbacks") == [(0,)]
    assert load(warehouse, methods(method("card"))).version == 1
