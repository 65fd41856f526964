"""A script starts within a moment, and ends in one: what takes long is imported when a command runs, not before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.export import processes
from tests.lake.small_tables import add_rows, stream_feed
from tests.support import ROOT, lake_at

HEAVY = {
    "pandas", "pyarrow", "numpy", "duckdb", "deltalake", "mysql", "pydantic", "requests", "urllib3", "dotenv", "rich",
}  # fmt: skip
# Asks a script and each of its commands for help, and prints which packages were imported by then.
_ASK = """
import importlib, json, sys
import click
script, heavy = sys.argv[1], set(json.loads(sys.argv[2]))
main = importlib.import_module(script).main
found = {}
for words in ([], *([name] for name in getattr(main, "commands", ()))):
    try:
        main([*words, "--help"])
    except SystemExit as ended:
        assert not ended.code, words
    found[" ".join(words)] = sorted(heavy & {name.split(".")[0] for name in sys.modules})
print("\\n" + json.dumps(found))
"""


@pytest.mark.parametrize(
    ("script", "allowed"),
    [
        ("manage_feeds", set()),
        ("export_to_data_lake", set()),
        ("metadata_utils", set()),
        ("sync_to_mysql", set()),
        ("test_setup", set()),
        ("data_lake_config", {"pydantic", "dotenv"}),  # settings are what it is made of
    ],
)
def test_help_imports_nothing_that_takes_long(script: str, allowed: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ASK, script, json.dumps(sorted(HEAVY))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {words: set(there) - allowed for words, there in found.items()} == {words: set() for words in found}


_REPORT = """
import sys
import metadata_utils
try:
    metadata_utils.main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
print({"duckdb", "mysql", "requests", "rich"} & set(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--stats"], ["--report"], ["--json"], ["--csv", "-"], [], ["history", "events"]])
def test_what_is_said_by_the_logs_alone_imports_no_database(tmp_path: Path, words: list[str]) -> None:
    """To import them takes longer than to read the logs of a lake of many years."""
    lake = lake_at(tmp_path)
    lake.feeds.add(stream_feed())
    add_rows(lake.table(stream_feed()), 1, [(0, 0, 0, "a")])

    done = subprocess.run(
        [sys.executable, "-c", _REPORT, *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"LAKE_ROOT": str(tmp_path)},
    )  # fmt: skip

    assert "events" in done.stdout or "stream" in done.stdout
    assert (done.returncode, done.stderr) == (0, "set()\n")


@pytest.mark.parametrize("script", ["sync_to_mysql", "metadata_utils"])
def test_a_commands_help_needs_no_settings(script: str) -> None:
    done = subprocess.run(
        [sys.executable, f"{script}.py", "history", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"QUIET_S": "soon", "MYSQL_PORT": "no"},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize(
    ("begins", "is_there"),
    [
        ("pass", True),
        ("from pipeline import start; start.guard()", False),
        (processes._SERVE.replace("serve({descriptor})", "pass").format(path=[str(ROOT), *sys.path]), False),
    ],
    ids=["any program", "a script", "a process that stages rows"],
)
def test_pandas_is_not_imported_where_it_is_installed(begins: str, is_there: bool) -> None:
    code = f"{begins}; import pyarrow, sys; pyarrow.array([1]); print('pandas' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == (f"{is_there}\n", "")


def test_the_garbage_collector_does_not_look_at_what_an_export_imports() -> None:
    code = """
import gc, sys
from pipeline import start
start.guard()
runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
import data_lake_config, commands.export_run, pipeline.export.run, pipeline.ksqldb.source
print(len(runs))
"""

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("ends", ["None", "sys.exit(0)"])
def test_a_script_that_has_used_duckdb_ends_without_a_word(ends: str) -> None:
    """DuckDB's module reports objects that the interpreter's last collection has not found."""
    code = f"""
import sys
import click, duckdb
from pipeline import scripts
scripts.run(click.Command("nothing", callback=lambda: [duckdb.sql("SELECT 1").fetchall(), {ends}][1]))
"""

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_process_that_stages_rows_of_kafka_imports_neither_the_log_nor_http() -> None:
    """Each of them takes as long as many thousand rows."""
    begins = processes._SERVE.replace("serve({descriptor})", "pass").format(path=[str(ROOT), *sys.path])
    code = f"{begins}; import pipeline.kafka.stream; print({{'deltalake', 'pydantic', 'requests'}} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("set()\n", "")
