"""Fixtures that most tests share: a clean environment, a lake in a temporary folder, private servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import data_lake_config
from demo.private_mysql import PrivateServer, ServerMissing, running_mariadb

_SETTINGS = ("LAKE_", "KSQLDB_", "MYSQL_", "QUIET_S", "STALL_S", "SNAPSHOT_", "COMMIT_ROWS", "EXPIRE_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell or `.env` reaches a test."""
    monkeypatch.setattr(data_lake_config, "ENV_FILE", Path("/nonexistent/.env"))
    for name in list(os.environ):
        if name.startswith(_SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture
def lake_root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A private MariaDB for the whole run; each test takes a database of its own."""
    try:
        with running_mariadb(tmp_path_factory.mktemp("mariadb")) as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start servers for whole scripts are left out of the quick run."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker("server")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip is a failure: everything that a test needs can be installed there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("tests were skipped, which counts as a failure in CI", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
