"""Fixtures that most tests share: a clean environment, a lake in a temporary folder, private servers."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

import data_lake_config
from demo.private_mysql import PrivateServer, running_mariadb
from demo.private_process import ServerMissing
from pipeline.cycles import without_collections
from tests import vectors
from tests.examples import QUICK_PART
from tests.private_azurite import PrivateAzurite, running_azurite
from tests.private_gcs import PrivateGcs, running_gcs
from tests.private_seaweedfs import PrivateSeaweedfs, running_seaweedfs

pytest_plugins = ["pytester", "tests.lost_workers"]
_SETTINGS = (
    "AWS_",
    "AZURE_",
    "GOOGLE_",
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
Server = TypeVar("Server")
_MEMORY = Path("/dev/shm")
_ROOM = 8 * 1024**3  # several database servers, brokers and lakes at once
# A test may kill the server, the machine stays up.
_NOT_WAITING_FOR_THE_DISK = ("--innodb-flush-method=nosync", "--debug-no-sync", "--innodb-doublewrite=OFF")

# No test trusts the world's authorities: to read all of them takes 0.1 s of CPU in each connection to MySQL.
os.environ["SSL_CERT_FILE"] = os.devnull

# No time limit for an example of a property test: a busy machine is no fault of the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make check` is run often: an eighth of the examples. `make test` tries all of them.
settings.register_profile("quick", settings.get_profile("steady"), max_examples=100 // QUICK_PART)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the developer's shell or `.env` reaches a test, and no log of a test the project's folder."""
    monkeypatch.setattr(data_lake_config, "ENV_FILE", Path("/nonexistent/.env"))
    for name in list(os.environ):
        if name.startswith(_SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MYSQL_SYNC_LOG_DIR", str(tmp_path_factory.getbasetemp() / "logs"))


@pytest.fixture(autouse=True)
def _recorded_answers_where_declared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a test that is marked `vectors` finds a real server's answers: the others pass where there are none."""
    if request.node.get_closest_marker("vectors") is None:
        monkeypatch.setattr(vectors, "VECTORS", Path("/nonexistent"))


@pytest.fixture
def lake_root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def _or_skipped(starting: AbstractContextManager[Server]) -> Iterator[Server]:
    """The server until the run ends; where it cannot be had, what needs it is skipped."""
    try:
        with starting as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A private MariaDB for the whole run; each test takes a database of its own."""
    yield from _or_skipped(running_mariadb(tmp_path_factory.mktemp("mariadb"), _NOT_WAITING_FOR_THE_DISK))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSeaweedfs]:
    """A private S3 server for the whole run; each test takes a prefix of its own."""
    yield from _or_skipped(running_seaweedfs(tmp_path_factory.mktemp("seaweedfs")))


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAzurite]:
    """A private server as Azure Blob Storage for the whole run; each test takes a prefix of its own."""
    yield from _or_skipped(running_azurite(tmp_path_factory.mktemp("azurite")))


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateGcs]:
    """A private server as Google Cloud Storage for the whole run; each test takes a prefix of its own."""
    yield from _or_skipped(running_gcs(tmp_path_factory.mktemp("gcs")))


def pytest_configure() -> None:
    """What the tests start may be ended by Ctrl-C, though the shell has put the run into the background."""
    _take_temporary_folders_in_memory()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _take_temporary_folders_in_memory() -> None:
    """No test cuts the power, so what it syncs need not wait for a disk, if memory has the room and runs programs."""
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return
    found = os.statvfs(_MEMORY)
    if found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected is no garbage."""
    with without_collections():
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests by the servers that they need; leaves out those whose recorded answers are not there."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker("server")
        if {"mariadb", "mysql", "private_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("mysql")
        if "kafka_addresses" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
    if not vectors.VECTORS.is_dir():
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
    if not vectors.VECTORS.is_dir():
        place = f"{vectors.VECTORS.parent.name}/{vectors.VECTORS.name}"
        terminalreporter.write_line(f"tests marked `vectors` were left out: put a real server's answers into {place}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip is a failure: everything that a test needs can be had there."""
    gc.unfreeze()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    left_out = reporter is not None and (reporter.stats.get("skipped") or not vectors.VECTORS.is_dir())
    if os.environ.get("CI") and left_out:
        reporter.write_line("tests were skipped or left out, which counts as a failure in CI", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
