"""A warehouse of its own for each test: a new database on the private server."""

from __future__ import annotations

import itertools

import pytest

from data_lake_config import PROJECT_ROOT
from demo.private_mysql import PrivateServer
from pipeline.warehouse.connection import Server
from pipeline.warehouse.schema import init_schema

_numbers = itertools.count(1)


@pytest.fixture
def empty_server(mariadb: PrivateServer) -> Server:
    """A server where the warehouse's database is not there yet."""
    return Server(
        host=mariadb.host, port=mariadb.port, user=mariadb.user, password=mariadb.password,
        database=f"warehouse_{next(_numbers)}",
    )  # fmt: skip


@pytest.fixture
def warehouse(empty_server: Server) -> Server:
    """A server with the star schema, empty."""
    init_schema(empty_server, PROJECT_ROOT / "sql")
    return empty_server
