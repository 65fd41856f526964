"""What the project needs stands in pyproject.toml: requirements.txt, the lock and the imports agree with it."""

from __future__ import annotations

import ast
import datetime as dt
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from demo.private_mysql import PrivateServer
from ksqldb_emulator.testing import running
from tests.support import ROOT, add_default_feeds
from tests.test_layout import nodes_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
APART = {"delta-scan", "readers", "catalogs", "bench-dlt"}
"""The extras that have environments of their own, with packages that do not go together with ours."""
NOT_IMPORTED = {"pandas", "pytz"}
"""People query the lake with them; no command needs them, so start and install without them."""


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return match[0].lower().replace("_", "-")


def lines(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def imported(path: Path) -> set[str]:
    """The packages, of the standard library too, that a file imports anywhere in it."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_requirements_txt_lists_the_dependencies() -> None:
    assert lines("requirements.txt") == NEEDED


def test_the_lock_pins_all_dependencies_and_extras() -> None:
    pinned = {name_of(line) for line in lines("requirements.lock") if re.fullmatch(r"[\w.-]+==[\w.]+", line)}
    wanted = {name_of(line) for line in NEEDED}
    wanted |= {name_of(line) for extra, packages in EXTRAS.items() if extra not in APART for line in packages}

    assert len(pinned) == len(lines("requirements.lock"))
    assert wanted - {PROJECT["project"]["name"]} <= pinned


def test_commands_import_what_is_declared_and_all_of_it() -> None:
    distributions = packages_distributions()
    used: set[str] = set()
    formats = [f'extra == "{extra}"' for extra in ("avro", "protobuf", "schemaregistry")]
    with_formats = [line for line in requires("confluent-kafka") or [] if line.endswith(tuple(formats))]
    stores = {name_of(line) for line in EXTRAS["object-store"]}
    brought = {name_of(line) for line in [*EXTRAS["kafka"], *with_formats]}
    iceberg = {name_of(line) for line in EXTRAS["iceberg"]}
    lineage = {name_of(line) for line in EXTRAS["lineage"]}
    ours = {"pipeline", "commands", "ksqldb_lake_native", *(path.stem for path in ROOT.glob("*.py"))}
    for path in [
        *ROOT.glob("*.py"),
        *(path for room in ("pipeline", "commands") for path in (ROOT / room).rglob("*.py")),
    ]:
        for package in imported(path) - sys.stdlib_module_names - ours:
            names = {name_of(name) for name in distributions.get(package, [package])}
            by_extra = {"lineage": lineage, "bucket": stores, "iceberg": iceberg, "spark": {"pyspark", "py4j"}}.get(
                path.stem.partition("_")[0], set()
            )
            if ("kafka" in path.parts and names <= brought) or names <= by_extra:
                continue
            assert len(names) == 1, package
            used |= names

    assert used == {name_of(line) for line in NEEDED}


def test_nothing_of_the_project_is_installed_as_a_package() -> None:
    """`pip install '.[dev]'` brings what the extra names: no script, and never the lake's folder, as code."""
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"] == {"bypass-selection": True}
    assert not list((ROOT / "data_lake").glob("*.py"))


def test_what_make_mutants_changes_and_runs_is_there() -> None:
    settings = PROJECT["tool"]["mutmut"]

    for name in settings["only_mutate"] + settings["pytest_add_cli_args_test_selection"]:
        assert (ROOT / name).is_file(), name


@pytest.mark.long
@pytest.mark.server
def test_the_main_job_runs_where_pandas_is_not_installed(tmp_path: Path, mariadb: PrivateServer) -> None:
    for name in NOT_IMPORTED:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')", encoding="utf-8")
    lake = tmp_path / "lake"
    add_default_feeds(lake)
    with running(build(generate(60, dt.date(2026, 11, 20)))) as emulator:
        env = {
            "PYTHONPATH": str(tmp_path), "SNAPSHOT_RECHECK_S": "0.05", "QUIET_S": "0.6",
            "LAKE_ROOT": str(lake), "KSQLDB_URL": emulator.url,
            "MYSQL_HOST": mariadb.host, "MYSQL_PORT": str(mariadb.port), "MYSQL_USER": mariadb.user,
            "MYSQL_DATABASE": "without_pandas",
        }  # fmt: skip
        commands = (
            ("export_to_data_lake.py", "--all"),
            ("sync_to_mysql.py", "--source", "lake", "--init-schema"),
            ("metadata_utils.py", "verify", "--source"),
            ("metadata_utils.py", "verify", "--warehouse"),
            ("metadata_utils.py", "--report"),
        )
        for script, *arguments in commands:
            done = subprocess.run(
                [sys.executable, script, *arguments],
                cwd=ROOT,
                env=os.environ | env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
