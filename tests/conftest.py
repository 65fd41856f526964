"""Fixtures that most tests share: a clean environment, a lake in a temporary folder, private servers."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import data_lake_config
from demo.private_mysql import PrivateServer, running_mariadb
from demo.private_process import ServerMissing
from tests.private_seaweedfs import PrivateSeaweedfs, running_seaweedfs
from tests.vectors import VECTORS

pytest_plugins = ["pytester"]
_SETTINGS = (
    "AWS_",
    "LAKE_",
    "KSQLDB_",
    "MYSQL_",
    "QUIET_S",
    "STALL_S",
    "SNAPSHOT_",
    "COMMIT_ROWS",
    "EXPIRE_",
    "EXPORT_",
    "COMPACT_",
    "HEALTH_",
    "KAFKA_",
    "SCHEMA_REGISTRY_",
)
# A test may kill the server, the machine stays up.
_NOT_WAITING_FOR_THE_DISK = ("--innodb-flush-method=nosync", "--debug-no-sync", "--innodb-doublewrite=OFF")

# No test trusts the world's authorities: to read all of them takes 0.1 s of CPU in each connection to MySQL.
os.environ["SSL_CERT_FILE"] = os.devnull

# No time limit for an example of a property test: a busy machine is no fault of the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make check` is run often: a quarter of the examples. `make test` tries all of them.
settings.register_profile("quick", settings.get_profile("steady"), max_examples=25)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the developer's shell or `.env` reaches a test, and no log of a test the project's folder."""
    monkeypatch.setattr(data_lake_config, "ENV_FILE", Path("/nonexistent/.env"))
    for name in list(os.environ):
        if name.startswith(_SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MYSQL_SYNC_LOG_DIR", str(tmp_path_factory.getbasetemp() / "logs"))


@pytest.fixture
def lake_root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A private MariaDB for the whole run; each test takes a database of its own."""
    try:
        with running_mariadb(tmp_path_factory.mktemp("mariadb"), _NOT_WAITING_FOR_THE_DISK) as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSeaweedfs]:
    """A private S3 server for the whole run; each test takes a prefix of its own."""
    try:
        with running_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


def pytest_configure() -> None:
    """What the tests start may be ended by Ctrl-C, though the shell has put the run into the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests by the servers that they need; leaves out those whose recorded answers are not there."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker("server")
        if {"mariadb", "mysql", "private_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("mysql")
        if "kafka_addresses" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
    if not VECTORS.is_dir():
        left_out = [item for item in items if item.get_closest_marker("vectors")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items[:] = long_ones_first(items, getattr(config, "workerinput", {}).get("workercount", 1))


def long_ones_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in the order in which no long one is left for the end.

    Each worker gets one of as many parts of the list, from its first part to its last; it takes its own from the
    front, and when it has none left, from the back of another's.
    """
    long = [item for item in items if item.get_closest_marker("long")]
    short = [item for item in items if not item.get_closest_marker("long")]
    parts: list[pytest.Item] = []
    for number in range(workers):
        begun_first = long[number::workers]
        room = max(0, (len(items) - len(parts)) // (workers - number) - len(begun_first))
        parts += [*begun_first, *short[:room]]
        del short[:room]
    return parts


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: thousands of collections of garbage need not look through it."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not VECTORS.is_dir():
        place = f"{VECTORS.parent.name}/{VECTORS.name}"
        terminalreporter.write_line(f"tests marked `vectors` were left out: put a real server's answers into {place}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip is a failure: everything that a test needs can be had there."""
    gc.unfreeze()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    left_out = reporter is not None and (reporter.stats.get("skipped") or not VECTORS.is_dir())
    if os.environ.get("CI") and left_out:
        reporter.write_line("tests were skipped or left out, which counts as a failure in CI", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
