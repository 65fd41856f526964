"""A private server beside others: it keeps to its own folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from demo.private_mysql import PACKAGES, ServerMissing, running_mariadb


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
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"needs Debian's package {package}")

    services = [path for path in listed.stdout.splitlines() if path.startswith("/etc/init.d/") or ".service" in path]
    assert services == []
