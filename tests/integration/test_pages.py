"""Each command that the pages show is run, and its output compared with the page's; on one server of sample data.

`WRITE_PAGES=1` writes what the commands print now into the English pages; `python -m docsite` takes it to the French.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import data_lake_config
from demo.dataset import build_demo
from demo.definitions import SCHEMAS
from demo.private_mysql import PrivateServer
from docsite.pages import blocks, pages_in, path_of
from ksqldb_emulator.testing import Emulator, running
from tests.integration.page_commands import Shell
from tests.support import ROOT

TRANSACTIONS, ARRIVING, SEED = 1000, 20, 7
FIRST = "quickstart-lake"
OF_WAREHOUSE = ("quickstart-warehouse", "warehouse-design", "warehouse")
OTHERS = [page for page in pages_in("en") if page not in (FIRST, *OF_WAREHOUSE) and "console" in
          {kind for kind, _ in blocks(path_of(page, "en").read_text(encoding="utf-8"))}]  # fmt: skip


@dataclass
class Site:
    """The server of the pages, and a folder as it is after the first quick start."""

    emulator: Emulator
    today: dt.date
    folder: Path
    differences: list[str]

    def shell(self, folder: Path, patch: pytest.MonkeyPatch, **env: str) -> Shell:
        """A shell in a folder that is a clone of the project, as far as the pages' commands use it."""
        patch.chdir(folder)
        patch.setattr(data_lake_config, "PROJECT_ROOT", folder)
        patch.setattr(data_lake_config, "ENV_FILE", folder / ".env")
        patch.setenv("MYSQL_SYNC_LOG_DIR", str(folder / "logs"))
        settings = {"KSQLDB_URL": self.emulator.url, "LAKE_ROOT": str(folder / "data_lake")} | env
        return Shell(folder, settings, self.today, self.arrive, self.folder)

    def arrive(self) -> None:
        """The last events are there from now on."""
        for name in SCHEMAS:
            records = self.emulator.source(name).records
            records[:] = [replace(record, at_s=0.0) for record in records]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("pages") / "first"
    folder.mkdir()
    shutil.copytree(ROOT / "sql", folder / "sql")
    shutil.copy(ROOT / "requirements.txt", folder)
    today = dt.datetime.now(dt.UTC).date()
    with running(build_demo(TRANSACTIONS, today, SEED, ARRIVING, over_s=1e9)) as emulator:
        found = Site(emulator, today, folder, [])
        with pytest.MonkeyPatch.context() as patch:
            found.differences += played(FIRST, found.shell(folder, patch))
        yield found


@pytest.fixture
def shell(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder of its own, as it is after the first quick start."""
    return site.shell(Path(shutil.copytree(site.folder, tmp_path / "project")), monkeypatch)


def played(page: str, shell: Shell) -> list[str]:
    """Runs a page's commands; returns what was not as it says."""
    path = path_of(page, "en")
    text = shell.play(path.read_text(encoding="utf-8"))
    if os.environ.get("WRITE_PAGES"):
        path.write_text(text, encoding="utf-8")
    return shell.differences


def test_the_commands_of_the_first_page_do_what_it_says(site: Site) -> None:
    assert not site.differences, "\n\n".join(site.differences)


@pytest.mark.parametrize("page", OTHERS)
def test_the_commands_of_a_page_do_what_it_says(page: str, shell: Shell) -> None:
    assert not (found := played(page, shell)), "\n\n".join(found)


@pytest.mark.mysql
def test_the_commands_of_the_warehouse_pages_do_what_they_say(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: PrivateServer
) -> None:
    folder = Path(shutil.copytree(site.folder, tmp_path / "project"))
    place = {"MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port)}
    account = {"MYSQL_USER": "etl", "MYSQL_PASSWORD": "secret", "MYSQL_DATABASE": "data_warehouse"}
    client = ["mariadb", "--no-defaults", "-h", mariadb.host, "-P", str(mariadb.port), "-u"]
    monkeypatch.setenv("PATH", f"{_mysql(tmp_path, [*client, 'etl', '-psecret'])}:{os.environ['PATH']}")
    shell = site.shell(folder, monkeypatch, **place, **account)

    def as_root(*statements: str) -> None:
        subprocess.run([*client, mariadb.user, "-e", "; ".join(statements)], check=True)

    gone = "DROP DATABASE IF EXISTS data_warehouse", "DROP USER IF EXISTS 'etl'@'%'"
    rights = "GRANT ALL ON data_warehouse.* TO 'etl'@'%'"
    as_root(*gone, "CREATE USER 'etl'@'%' IDENTIFIED BY 'secret'", rights)
    try:
        for page in OF_WAREHOUSE:
            played(page, shell)
    finally:
        as_root(*gone)
    assert not shell.differences, "\n\n".join(shell.differences)


def _mysql(place: Path, client: list[str]) -> Path:
    """A folder with a `mysql` that reaches the private server, without asking for a password."""
    place = place / "bin"
    place.mkdir()
    (place / "mysql").write_text(f'#!/bin/sh\nshift 3 # -u etl -p\nexec {shlex.join(client)} "$@"\n', encoding="utf-8")
    (place / "mysql").chmod(0o755)
    return place


def test_there_are_diagrams_and_examples_enough() -> None:
    found = [block for page in pages_in("en") for block in blocks(path_of(page, "en").read_text(encoding="utf-8"))]
    kinds = [kind for kind, _ in found]

    assert kinds.count("mermaid") >= 15
    assert sum(code.count("\n$ ") + 1 for kind, code in found if kind == "console") + kinds.count("python") >= 30
