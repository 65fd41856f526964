"""A server that answers as a test says, and a client of it that waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.ksqldb import push
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from tests.ksqldb.replay import ReplayServer, replaying


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with replaying() as script:
        yield script


@pytest.fixture
def client(server: ReplayServer) -> Iterator[Client]:
    with Client(Connection(server.url, retry_s=0)) as client:
        yield client


@pytest.fixture
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch over a push does not wait long between two looks."""
    monkeypatch.setattr(push, "_POLL_S", 0.01)
