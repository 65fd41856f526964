"""A real broker, one for all workers of a run: whoever needs it first starts it, and ends it when nobody needs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.private_kafka import running_kafka
from demo.private_process import ServerMissing


@contextlib.contextmanager
def shared_kafka(folder: Path) -> Iterator[tuple[str, str]]:
    """The broker of all processes that name the same folder: its addresses for anyone, and for users.

    Who started it ends last. The kernel frees what a dead process holds, and the broker dies with who started it.
    """
    folder.mkdir(exist_ok=True)
    address = folder / "address"
    with (folder / "starting").open("w") as starting, (folder / "needed").open("w") as needed:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(needed, fcntl.LOCK_SH)
        if address.exists():
            fcntl.flock(starting, fcntl.LOCK_UN)
            anyone, for_users = address.read_text(encoding="utf-8").split()
            yield anyone, for_users
            return
        home = folder / f"broker-{os.getpid()}"
        home.mkdir()
        with running_kafka(home) as broker:
            address.write_text(f"{broker.servers} {broker.servers_for_users}", encoding="utf-8")
            fcntl.flock(starting, fcntl.LOCK_UN)
            try:
                yield broker.servers, broker.servers_for_users
            finally:
                fcntl.flock(starting, fcntl.LOCK_EX)
                address.unlink()  # whoever comes from now on starts its own
                fcntl.flock(starting, fcntl.LOCK_UN)
                fcntl.flock(needed, fcntl.LOCK_EX)
        shutil.rmtree(home)


@pytest.fixture(autouse=True)
def _certificates_that_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's client loads what the variable names, for plain HTTP too."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


@pytest.fixture(scope="session")
def kafka_addresses(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[tuple[str, str]]:
    own = tmp_path_factory.getbasetemp()
    try:
        with shared_kafka((own if worker_id == "master" else own.parent) / "kafka") as addresses:
            yield addresses
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def kafka(kafka_addresses: tuple[str, str]) -> str:
    """The bootstrap servers of a private broker; each test takes topics of its own."""
    return kafka_addresses[0]


@pytest.fixture
def kafka_for_users(kafka_addresses: tuple[str, str]) -> str:
    """The same broker where a user and a password are asked for, and rules count."""
    return kafka_addresses[1]
