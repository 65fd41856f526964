"""Each command that the pages show is run, and its output compared with the page's; on one server of sample data.

`WRITE_PAGES=1` writes what the commands print now into the English pages; `python -m docsite` takes it to the French.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

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
PAGE_DATES = "11-24 23:38 2026-11-24"
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


@contextmanager
def _site(today: dt.date, folder: Path) -> Iterator[Site]:
    folder.mkdir()
    shutil.copytree(ROOT / "sql", folder / "sql")
    shutil.copy(ROOT / "requirements.txt", folder)
    with running(build_demo(TRANSACTIONS, today, SEED, ARRIVING, over_s=1e9)) as emulator:
        found = Site(emulator, today, folder, [])
        with pytest.MonkeyPatch.context() as patch:
            found.differences += played(FIRST, found.shell(folder, patch))
        yield found


@dataclass
class Sites:
    """A site for each day on which pages are played, usually one: at midnight other rows expire."""

    servers: ExitStack
    folder: Path
    made: dict[dt.date, Site] = field(default_factory=dict)

    def differences(self, of: Callable[[Site, Path], list[str]]) -> list[str]:
        """What differs on a site of today, in a copy of its folder. If the day ended meanwhile, it is tried again."""
        while True:
            today = _today()
            if today not in self.made:
                self.made[today] = self.servers.enter_context(_site(today, self.folder / str(today)))
            site = self.made[today]
            with TemporaryDirectory(dir=self.folder) as place:
                found = of(site, Path(shutil.copytree(site.folder, Path(place) / "project")))
            if _today() == today:
                return found


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with ExitStack() as servers:
        yield Sites(servers, tmp_path_factory.mktemp("pages"))


def played(page: str, shell: Shell) -> list[str]:
    """Runs a page's commands; returns what was not as it says."""
    path = path_of(page, "en")
    text = shell.play(path.read_text(encoding="utf-8"))
    if os.environ.get("WRITE_PAGES"):
        path.write_text(text, encoding="utf-8")
    return shell.differences


def test_the_commands_of_the_first_page_do_what_it_says(sites: Sites) -> None:
    assert not (found := sites.differences(lambda site, _: site.differences)), "\n\n".join(found)


@pytest.mark.parametrize("page", OTHERS)
def test_the_commands_of_a_page_do_what_it_says(page: str, sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sites.differences(lambda site, folder: played(page, site.shell(folder, monkeypatch)))
    assert not found, "\n\n".join(found)


@pytest.mark.mysql
def test_the_commands_of_the_warehouse_pages_do_what_they_say(
    sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mariadb: PrivateServer
) -> None:
    place = {"MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port)}
    account = {"MYSQL_USER": "etl", "MYSQL_PASSWORD": "secret", "MYSQL_DATABASE": "data_warehouse"}
    client = ["mariadb", "--no-defaults", "-h", mariadb.host, "-P", str(mariadb.port), "-u"]
    monkeypatch.setenv("PATH", f"{_mysql(tmp_path, [*client, 'etl', '-psecret'])}:{os.environ['PATH']}")

    def as_root(*statements: str) -> None:
        subprocess.run([*client, mariadb.user, "-e", "; ".join(statements)], check=True)

    gone = "DROP DATABASE IF EXISTS data_warehouse", "DROP USER IF EXISTS 'etl'@'%'"
    rights = "GRANT ALL ON data_warehouse.* TO 'etl'@'%'"

    def played_all(site: Site, folder: Path) -> list[str]:
        as_root(*gone, "CREATE USER 'etl'@'%' IDENTIFIED BY 'secret'", rights)
        shell = site.shell(folder, monkeypatch, **place, **account)
        for page in OF_WAREHOUSE:
            played(page, shell)
        return shell.differences

    try:
        found = sites.differences(played_all)
    finally:
        as_root(*gone)
    assert not found, "\n\n".join(found)


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


@pytest.mark.parametrize(("day", "moved"), [("2027-01-08", "01-03 23:38 2027-01-03"), ("2026-11-29", PAGE_DATES)])
def test_dates_move_with_the_day_with_or_without_their_year(tmp_path: Path, day: str, moved: str) -> None:
    shell = Shell(tmp_path, {}, dt.date.fromisoformat(day))

    shell.play(f"```console\n$ echo '{PAGE_DATES}' | tee seen\n{PAGE_DATES}\n```")

    assert (shell.differences, (tmp_path / "seen").read_text(encoding="utf-8")) == ([], f"{moved}\n")
