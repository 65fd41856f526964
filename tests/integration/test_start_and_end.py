"""How a script starts where something is missing, and how it ends where nobody can read what it says."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from tests.integration.started import WHEN_IMPORTED, run, when_imported
from tests.support import ROOT, add_default_feeds, lake_at, log_of

SCRIPTS = ("data_lake_config", "manage_feeds", "export_to_data_lake", "metadata_utils", "sync_to_mysql", "test_setup")


@pytest.mark.parametrize("module", ["click", "pydantic", "pipeline.lake.local_store"])
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("data_lake_config", ""),
        ("manage_feeds", "list"),
        ("export_to_data_lake", "--all"),
        ("metadata_utils", "--stats"),
        ("sync_to_mysql", ""),
        ("test_setup", "--no-mysql"),
    ],
)
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(script: str, arguments: str, module: str) -> None:
    done = when_imported(script, module, "os.kill(os.getpid(), signal.SIGINT)", *arguments.split())

    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in ("", "interrupted\n")  # once a command runs


def test_next_to_nothing_is_imported_before_ctrl_c_is_quiet() -> None:
    """What the interpreter itself imports cannot be guarded; what this adds is not to make that time longer."""
    code = "import sys; before = set(sys.modules); import pipeline.start; print(*sorted(set(sys.modules) - before))"

    done = run("-c", code)

    heavy = {"json", "re", "textwrap", "typing", "pathlib", "click"} & set(done.stdout.split())
    assert (done.returncode, heavy) == (0, set())
    assert "pipeline.start" in done.stdout


def test_a_process_that_is_to_ignore_ctrl_c_goes_on(lake_root: Path) -> None:
    happens = "os.kill(os.getpid(), signal.SIGINT)"
    words = ("-c", WHEN_IMPORTED, str(ROOT / "manage_feeds.py"), "click", happens, "list")
    lake_root.mkdir()

    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable, *words],
        env=os.environ | {"LAKE_ROOT": str(lake_root)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert done.stdout.startswith("no feeds yet")


def test_packages_that_are_missing_or_too_old_are_reported(tmp_path: Path) -> None:
    old = tmp_path / "click-0.1.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: click\nVersion: 0.1\n", encoding="utf-8")
    required = re.findall(r"^([a-z0-9-]+)>=", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)

    text = run("-S", "test_setup.py", "--no-mysql", env={"PYTHONPATH": str(tmp_path)})
    as_json = run("-S", "test_setup.py", "--json", env={"PYTHONPATH": str(tmp_path)})

    assert (text.returncode, text.stderr, as_json.returncode, as_json.stderr) == (1, "", 1, "")
    assert "failed   package click: 0.1 is older than" in text.stdout
    assert text.stdout.endswith(f"not ready: {len(required)} checks failed\n")
    shown = json.loads(as_json.stdout)
    assert not shown["ready"]
    failed = {check["name"]: check for check in shown["checks"] if check["state"] == "failed"}
    assert set(failed) == {f"package {name}" for name in required}
    assert failed["package pyarrow"]["hint"].startswith("python -m pip install -r requirements.txt")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_that_is_too_old_is_named(script: str) -> None:
    happens = "sys.version_info = (3, 10, 4); raise ImportError('cannot import Self')"
    old = "sys.version_info = (3, 10, 4)"

    done = (
        when_imported(script, "pipeline.prerequisites", old)
        if script == "test_setup"
        else when_imported(script, "click", happens)
    )

    assert done.returncode == 1
    assert "3.10" in done.stdout + done.stderr
    assert "too old" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missing_when_a_command_runs_is_a_sentence_too(lake_root: Path) -> None:
    happens = "raise ModuleNotFoundError('no', name='pyarrow')"

    done = when_imported("metadata_utils", "pyarrow", happens, "--stats", env={"LAKE_ROOT": str(lake_root)})

    assert done.returncode == 1
    assert (
        done.stderr
        == "error: the package pyarrow is missing or cannot be used\nhint: python test_setup.py says what is missing\n"
    )


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "test_setup"])
def test_a_package_that_is_missing_is_a_sentence_in_every_script(script: str) -> None:
    done = run("-S", f"{script}.py")

    assert done.returncode == 1
    assert done.stderr.startswith("error: the package click is missing")
    assert "hint: python test_setup.py" in done.stderr


def test_the_emulator_says_what_to_install() -> None:
    done = run("-S", "-m", "ksqldb_emulator", "--help")

    assert done.returncode == 1
    assert done.stderr.startswith("the package ")
    assert "install -c requirements.lock '.[emulator]'" in done.stderr


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-"])
def test_an_export_that_cannot_say_anything_exports_all_the_same(
    lake_root: Path, emulator: Emulator, redirect: str
) -> None:
    add_default_feeds(lake_root)
    env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}

    done = run("export_to_data_lake.py", "--all", env=env, redirect=redirect)

    assert done.returncode == 0
    assert "\n8 feeds exported, " in done.stdout
    for feed in lake_at(lake_root).feeds.list().feeds:
        assert lake_at(lake_root).table(feed).files, feed.name


def test_what_is_wrong_counts_where_it_cannot_be_said(lake_root: Path) -> None:
    env = {"LAKE_ROOT": str(lake_root)}
    lake_root.mkdir()

    assert run("manage_feeds.py", "show", "x", env=env, redirect="2>/dev/full").returncode == 2
    assert run("manage_feeds.py", "show", env=env, redirect="2>/dev/full").returncode == 2


def test_a_result_that_cannot_be_printed_is_an_error(lake_root: Path, emulator: Emulator) -> None:
    add_default_feeds(lake_root)
    env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}
    arguments = ("--table", "payment_method_totals", "--json")

    done = run("export_to_data_lake.py", *arguments, env=env, redirect=">/dev/full")
    shown = run("manage_feeds.py", "--help", env=env, redirect=">/dev/full")

    for ended in (done, shown):
        assert ended.returncode == 1
        assert "error: the result cannot be written to stdout: No space left on device\nhint: " in ended.stderr
        assert "Traceback" not in ended.stderr
    assert lake_at(lake_root).table(lake_at(lake_root).feeds.get("payment_method_totals")).current_version == 1


def test_a_reader_that_went_away_is_no_traceback(lake_root: Path) -> None:
    add_default_feeds(lake_root)

    done = run("manage_feeds.py", "schema", env={"LAKE_ROOT": str(lake_root)}, redirect="| true")

    assert done.stderr == ""


def test_letters_beyond_ascii_survive_the_plainest_locale(tmp_path: Path) -> None:
    env = {"LAKE_ROOT": str(tmp_path / "Küche"), "LC_ALL": "C", "KSQLDB_URL": "http://127.0.0.1:9"}
    (tmp_path / "Küche").mkdir()

    feed = ("--name", "x", "--type", "table", "--source", "X", "--owner", "Jürgen")
    added = run("manage_feeds.py", "add", *feed, env=env)
    shown = run("manage_feeds.py", "show", "x", env=env)
    unknown = run("manage_feeds.py", "show", "größe", env=env)

    assert (added.returncode, shown.returncode, unknown.returncode) == (0, 0, 2), added.stderr
    assert json.loads(shown.stdout)["owner"] == "Jürgen"
    assert unknown.stderr.startswith(f"error: there is no feed 'größe' in {tmp_path}/Küche/feeds/active")
    assert "added table x" in log_of(tmp_path / "Küche", "manage_feeds")


@pytest.mark.parametrize("arguments", ["--help", "list --no-such-option", "list"])
def test_ctrl_c_once_the_exit_code_is_known_changes_nothing(lake_root: Path, arguments: str) -> None:
    """A command may end by returning, by a refusal of click, or by an exit code of its own."""
    code = (
        "import atexit, os, runpy, signal, sys; sys.path.insert(0, ''); sys.argv = sys.argv[1:]\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    env = {"LAKE_ROOT": str(lake_root)}
    lake_root.mkdir()

    calm = run("manage_feeds.py", *arguments.split(), env=env)
    hurried = run("-c", code, "manage_feeds.py", *arguments.split(), env=env)

    assert (hurried.returncode, hurried.stdout, hurried.stderr) == (calm.returncode, calm.stdout, calm.stderr)
