"""The README's commands, run in the order in which they stand, on servers that the test starts."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from demo.private_mysql import PrivateServer
from ksqldb_emulator.testing import running
from tests.support import ROOT, log_of

_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Lines that are not run: they make the environment that this process already has.
_NOT_RUN = ("python3 -m venv", "venv/bin/pip install", ". venv/bin/activate")


def blocks() -> list[tuple[str, str]]:
    return _BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def test_readme_shows_commands_and_queries() -> None:
    kinds = [kind for kind, _ in blocks()]

    assert kinds.count("bash") >= 6
    assert kinds.count("python") == 2


def test_settings_of_the_readme_are_where_cron_finds_them_too() -> None:
    lines = [line for kind, text in blocks() if kind == "bash" for line in text.splitlines()]

    assert [line for line in lines if line.startswith("export ")] == []
    assert [line for line in lines if line.startswith("cat >") and not re.match(r"cat >>?\.env <<'END'$", line)] == []
    assert any(line.startswith("LAKE_ROOT=") for line in lines)


@pytest.mark.mysql
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_readme_commands_run_in_order(tmp_path: Path, mariadb: PrivateServer) -> None:
    project = _copy_of_the_project(tmp_path / "project")
    shims = _shims(tmp_path / "bin", mariadb)
    dataset = build(generate(500, dt.date(2026, 11, 20)))
    with running(dataset) as emulator:
        settings = {
            "KSQLDB_URL=": emulator.url,
            "LAKE_ROOT=/srv/lake": str(tmp_path / "lake"),
        }
        script = ["set -euo pipefail", "export QUIET_S=0.5 SNAPSHOT_RECHECK_S=0.1"]
        for kind, text in blocks():
            if kind == "python":
                path = tmp_path / f"query{len(script)}.py"
                path.write_text(text, encoding="utf-8")
                script.append(f"python {path}")
                continue
            script += [_here(line, settings, mariadb) for line in text.splitlines() if not line.startswith(_NOT_RUN)]
        script_file = tmp_path / "readme.sh"
        script_file.write_text("\n".join(script), encoding="utf-8")

        done = subprocess.run(
            ["bash", "-x", str(script_file)],
            cwd=project,
            env=os.environ | {"PATH": f"{shims}:{os.environ['PATH']}", "DEMO_TRANSACTIONS": "500"},
            capture_output=True,
            text=True,
            timeout=3000,
            check=False,
        )
        by_cron = subprocess.run(
            ["env", "-i", "sh", "-c", _cron_line(project)], cwd="/", capture_output=True, text=True, check=False
        )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert (by_cron.returncode, by_cron.stdout, by_cron.stderr) == (0, "", "")
    assert (
        len(set(re.findall(r"Z INFO (\d+) \S+ ksqlDB ", log_of(tmp_path / "lake", "export_to_data_lake")))) == 3
    )  # --all, --table, cron
    for shown in ("Loaded as snapshot 2.", "payment_method_totals: ok", "rows and columns after the first export",
                  "version 1 is published again as version", "Nothing was changed.", "difference"):  # fmt: skip
        assert shown in done.stdout, shown


def _here(line: str, settings: dict[str, str], mariadb: PrivateServer) -> str:
    """A line of the README with the addresses of this test's servers."""
    if line.startswith("MYSQL_HOST="):
        return f"MYSQL_HOST={mariadb.host}\nMYSQL_PORT={mariadb.port}"
    settings = settings | {"MYSQL_USER=": mariadb.user, "MYSQL_PASSWORD=": ""}
    for start, value in settings.items():
        if line.startswith(start):
            return f"{start.split('=')[0]}={value}"
    return line


def _copy_of_the_project(folder: Path) -> Path:
    """With a `.env` of its own, and environments that are this Python: `make` finds nothing to install there."""
    left_out = shutil.ignore_patterns(
        "build", "data_lake", ".git*", ".venv", ".env", ".*_cache", "__pycache__", "tests"
    )
    shutil.copytree(ROOT, folder, ignore=left_out)
    for environment in (".venv", "venv"):  # never links: what clears an environment would clear this one
        (folder / environment / "bin").mkdir(parents=True)
        python = folder / environment / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        (folder / environment / ".ready").touch()
    return folder


def _cron_line(project: Path) -> str:
    (line,) = re.findall(r"^15 2 \* \* \*  (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).replace("/opt/ksqldb-lake", str(project)).replace("/var/log/lake.err", str(project / "lake.err"))


def _shims(folder: Path, mariadb: PrivateServer) -> Path:
    """`python` is this one, and `mysql` reaches the private server without asking for a password."""
    folder.mkdir()
    connection = f"--no-defaults -h {mariadb.host} -P {mariadb.port} -u {mariadb.user}"
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    (folder / "mysql").write_text(
        f'#!/bin/sh\n[ "$1 $2 $3" = "-u root -p" ] && shift 3\nexec mariadb {connection} "$@"\n', encoding="utf-8"
    )
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder
