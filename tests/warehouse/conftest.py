"""A warehouse of its own for each test, on a private MariaDB and on a private MySQL: a new database each time."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_lake_config import PROJECT_ROOT
from demo.private_mysql import PrivateServer
from demo.private_process import ServerMissing
from demo.unpacked_mysql import running_mysql
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import made_warehouse
from tests.warehouse.history import State, cut_an_expiry_short, load_history, make_history

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A private MySQL for the whole run; each test takes a database of its own."""
    try:
        with running_mysql(tmp_path_factory.mktemp("mysql"), ["--performance-schema=OFF"]) as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.fixture(params=["mariadb", "mysql"])
def private_server(request: pytest.FixtureRequest) -> PrivateServer:
    server = request.getfixturevalue(request.param)
    assert isinstance(server, PrivateServer)
    return server


@pytest.fixture
def is_mariadb(private_server: PrivateServer) -> bool:
    return "mariadbd" in private_server.command[0]


def new_database(server: PrivateServer) -> Server:
    """A database that is not there yet, for root."""
    return Server(
        host=server.host, port=server.port, user=server.user, password=server.password,
        database=f"warehouse_{next(_numbers)}",
    )  # fmt: skip


@pytest.fixture
def empty_server(private_server: PrivateServer) -> Server:
    """A server where the warehouse's database is not there yet."""
    return new_database(private_server)


@pytest.fixture
def warehouse(empty_server: Server) -> Server:
    """A server with the star schema, empty, for the account that may load and no more."""
    return made_warehouse(empty_server)


@pytest.fixture
def sql_folder(tmp_path: Path) -> Path:
    """A copy of the project's files of the schema, to be changed."""
    return Path(shutil.copytree(PROJECT_ROOT / "sql", tmp_path / "sql"))


@pytest.fixture(scope="session")
def history() -> list[State]:
    """Two months of snapshots, in memory."""
    return make_history()


@pytest.fixture(scope="session")
def mariadb_history(mariadb: PrivateServer, history: list[State]) -> Server:
    return _with_history(mariadb, history)


@pytest.fixture(scope="session")
def mysql_history(mysql: PrivateServer, history: list[State]) -> Server:
    return _with_history(mysql, history)


@pytest.fixture(params=["mariadb_history", "mysql_history"])
def history_server(request: pytest.FixtureRequest) -> Server:
    """A warehouse with two months of snapshots; shared by the tests, so they leave it as it is."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, Server)
    return server


def _with_history(private: PrivateServer, history: list[State]) -> Server:
    server = made_warehouse(new_database(private))
    load_history(server, history)
    cut_an_expiry_short(server, history)
    return server
