"""A private server beside others: it keeps to its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.private_mysql import PACKAGES, install_mariadb, running_mariadb
from demo.private_process import ServerMissing


@pytest.mark.mysql
def test_a_starting_mariadb_leaves_the_temporary_tables_of_other_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    own.mkdir()
    table_of_another = shared / "#sql-temptable-1d6d-2f-15.MAI"
    table_of_another.touch()
    monkeypatch.setenv("TMPDIR", str(shared))

    try:
        with running_mariadb(own):
            pass
    except ServerMissing as error:
        pytest.skip(str(error))

    assert table_of_another.exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_installed_for_a_private_server_holds_no_service(package: str) -> None:
    if not shutil.which("dpkg"):
        pytest.skip("needs a Debian machine")
    try:
        install_mariadb()
    except ServerMissing as error:
        pytest.skip(str(error))
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True)

    services = [path for path in listed.stdout.splitlines() if path.startswith("/etc/init.d/") or ".service" in path]
    assert services == []


def test_two_at_once_install_mariadb_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt_get = tmp_path / "apt-get"
    apt_get.write_text(f"""#!/bin/sh
        /bin/mkdir {tmp_path}/busy || exit 100  # as apt-get does where another one holds its lock
        /bin/sleep 0.1
        case "$1" in install) /bin/touch {tmp_path}/mariadbd; /bin/chmod +x {tmp_path}/mariadbd;; esac
        /bin/rmdir {tmp_path}/busy
    """)
    apt_get.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with ThreadPoolExecutor(4) as pool:
        for installed in [pool.submit(install_mariadb) for _ in range(4)]:
            installed.result()
