"""A warehouse of its own for each test, on a private MariaDB and on a private MySQL: a new database each time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from data_lake_config import PROJECT_ROOT
from demo.private_mysql import PrivateServer, ServerMissing
from pipeline.warehouse.connection import Server
from pipeline.warehouse.schema import init_schema
from tests.mysql_server import running_mysql

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A private MySQL for the whole run; each test takes a database of its own."""
    try:
        with running_mysql(tmp_path_factory.mktemp("mysql")) as server:
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


@pytest.fixture
def empty_server(private_server: PrivateServer) -> Server:
    """A server where the warehouse's database is not there yet."""
    return Server(
        host=private_server.host, port=private_server.port, user=private_server.user,
        password=private_server.password, database=f"warehouse_{next(_numbers)}",
    )  # fmt: skip


@pytest.fixture
def warehouse(empty_server: Server) -> Server:
    """A server with the star schema, empty."""
    init_schema(empty_server, PROJECT_ROOT / "sql")
    return empty_server
