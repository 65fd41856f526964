"""The samples for cron, systemd, Airflow, Dagster and Grafana work with the scripts as they are."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import running
from pipeline.feeds import parse_feed
from pipeline.report.metrics import METRICS
from tests.integration.receivers import Smtp, receiving
from tests.integration.small_sources import a_stream, events
from tests.lake.small_tables import table_feed
from tests.programs import need
from tests.support import PATIENCE_S, ROOT, feed_for, lake_at

SAMPLES = ROOT / "samples"
HOME = "/opt/ksqldb-lake"
CODE = ("pipeline", "commands", "samples", "sql")


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """The scripts in a folder of their own, with a `.env`, a Python environment and a lake of one stream."""
    home = tmp_path / "opt"
    for name in CODE:
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ROOT.glob("*.py"):
        shutil.copy(script, home)
    (home / "venv").symlink_to(sys.prefix)
    lake_at(home / "data_lake").feeds.add(feed_for(a_stream([])))
    with running(Dataset([a_stream(events(3))])) as server:
        settings = f"KSQLDB_URL={server.url}\nMYSQL_HOST=127.0.0.1\nMYSQL_PORT=9\nQUIET_S=0.5\nKSQLDB_RETRY_S=0\n"
        (home / ".env").write_text(settings, encoding="utf-8")
        yield home


def run_by_cron(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    """With as little in the environment as cron gives."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "SHELL": "/bin/sh"}
    return subprocess.run(
        ["sh", "-c", line], cwd="/", env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@pytest.mark.server
def test_each_line_of_the_crontab_runs(installed: Path, tmp_path: Path) -> None:
    text = (SAMPLES / "crontab").read_text(encoding="utf-8")
    for place in ("/var/log/ksqldb-lake", "/var/lib/node_exporter", "/var/www/lake"):
        (tmp_path / Path(place).name).mkdir(exist_ok=True)
        text = text.replace(place, str(tmp_path / Path(place).name))
    lake_at(installed / "data_lake").feeds.add(table_feed(source="GONE", enabled=True, warehouse=MAPPING))

    with receiving(Smtp) as (port, mails):
        text = text.replace(HOME, str(installed)).replace("--to ops@", f"--server 127.0.0.1:{port} --to ops@")
        lines = [line for line in text.splitlines() if re.match(r"[0-9*]", line)]
        done = [run_by_cron(line.split(None, 5)[5], installed) for line in lines]

    assert "%" not in text  # cron makes a line end of it
    assert [(one.stdout, one.stderr) for one in done] == [("", "")] * 4
    assert [one.returncode for one in done] == [1, 1, 0, 0]
    night = (tmp_path / "ksqldb-lake" / "night.log").read_text(encoding="utf-8")
    assert "1 feed exported, 3 rows, 1 failed" in night
    assert "what is new is verified: 1 file, 3 rows" in night
    assert [b"totals: the last export failed" in mail.body for mail in mails] == [True]
    assert 'feed="s"' in (tmp_path / "node_exporter" / "ksqldb_lake.prom").read_text(encoding="utf-8")
    assert (tmp_path / "lake" / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "s: ok" in (tmp_path / "ksqldb-lake" / "week.log").read_text(encoding="utf-8")


MAPPING = {"fact": "fact_totals", "keys": ["k"], "columns": {"k": "k"}}


@pytest.mark.server
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    need("systemd-analyze", "systemd")
    for name in ("ksqldb-lake.service", "ksqldb-lake.timer"):
        text = (SAMPLES / name).read_text(encoding="utf-8")
        text = text.replace(f"{HOME}/venv/bin/python", sys.executable).replace(HOME, str(ROOT))
        (tmp_path / name).write_text(text.replace("User=lake\nGroup=lake\n", ""), encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, tmp_path.iterdir())],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip

    assert (done.returncode, [line for line in done.stderr.splitlines() if "ksqldb-lake" in line]) == (0, [])


@pytest.mark.server
def test_logrotate_takes_its_file(tmp_path: Path) -> None:
    need("logrotate", "logrotate")
    text = (SAMPLES / "logrotate").read_text(encoding="utf-8").replace("/var/log/ksqldb-lake", str(tmp_path))
    (tmp_path / "logrotate").write_text(re.sub(r" +(su|create) .*\n", "", text), encoding="utf-8")
    done = subprocess.run(
        ["logrotate", "-d", "-s", str(tmp_path / "state"), str(tmp_path / "logrotate")],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


class Task:
    """A task of Airflow, as much as the sample uses: it records what it is called with, and what comes after it."""

    made: list[tuple[str, tuple[str, ...]]]

    def __init__(self, act: Callable[..., None], options: dict[str, Any]) -> None:
        self.act, self.options = act, options

    def override(self, **options: Any) -> Task:
        return Task(self.act, self.options | options)

    def __call__(self, *words: str) -> Task:
        self.made.append((self.options["task_id"], words))
        return self

    def __rshift__(self, other: Task) -> Task:
        return other


def sample(name: str, monkeypatch: pytest.MonkeyPatch, **packages: types.ModuleType) -> types.ModuleType:
    """The sample as a module, with these packages in the place of the real ones."""
    for package, module in packages.items():
        monkeypatch.setitem(sys.modules, package.replace("__", "."), module)
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(**names: Any) -> types.ModuleType:
    module = types.ModuleType("stub")
    vars(module).update(names)
    return module


@pytest.mark.parametrize(("code", "error"), [(0, None), (75, "RuntimeError"), (1, "Failed"), (2, "Failed")])
def test_the_dag_runs_the_scripts_and_retries_what_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: str | None
) -> None:
    monkeypatch.setattr(Task, "made", [], raising=False)
    failed = type("Failed", (Exception,), {})
    sdk = package(task=lambda **options: lambda act: Task(act, options), dag=lambda **_: lambda act: act)
    module = sample(
        "airflow_dag", monkeypatch, airflow=package(), airflow__sdk=sdk,
        airflow__sdk__exceptions=package(AirflowFailException=failed), pendulum=package(datetime=lambda *_, **__: None),
    )  # fmt: skip
    monkeypatch.setattr(module, "FOLDER", str(tmp_path))
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/sh")
    (tmp_path / "script.py").write_text(f"exit {code}", encoding="utf-8")

    expected: Any = contextlib.nullcontext() if error is None else pytest.raises((RuntimeError, failed))
    with expected as raised:
        module.run.act("script.py")
    assert error is None or type(raised.value).__name__ == error
    assert Task.made == [
        ("night", ("export_to_data_lake.py", "--all", "--then-sync", "--then-verify")),
        ("health", ("metadata_utils.py", "health")),
    ]


class Failed(Exception):
    """Dagster's Failure, as much as the sample uses."""

    def __init__(self, text: str, allow_retries: bool) -> None:
        super().__init__(text)
        self.allow_retries = allow_retries


@pytest.fixture
def dagster(installed: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the sample defines, with the names of its assets as `specs`; the package only writes down."""
    lake_at(installed / "data_lake").feeds.add(parse_feed(
        {"name": "idle", "type": "stream", "source": "S", "enabled": False}, "idle"))  # fmt: skip
    package, specs = MagicMock(), list[str]()
    package.AssetSpec = lambda name, **_: specs.append(name)
    package.multi_asset = lambda **_: lambda function: function
    package.Failure = Failed
    text = (SAMPLES / "dagster_assets.py").read_text(encoding="utf-8").replace(HOME, str(installed))
    monkeypatch.setitem(sys.modules, "dagster", package)
    found: dict[str, Any] = {"specs": specs}
    exec(compile(text, "dagster_assets", "exec", dont_inherit=True), found)
    return found


def test_dagster_gets_the_names_of_enabled_feeds(dagster: dict[str, Any]) -> None:
    assert dagster["specs"] == ["s"]
    # Dagster 1.13 refuses the name of the class.
    assert dagster["data_lake"].__annotations__["context"] is dagster["dg"].AssetExecutionContext


@pytest.mark.parametrize(("code", "retries"), [(0, None), (75, True), (1, False)])
def test_dagster_materializes_what_was_committed_and_repeats_what_may_pass(
    dagster: dict[str, Any], code: int, retries: bool | None
) -> None:
    ran, taken = MagicMock(), []
    ran.get_results = lambda **_: iter(["s"])
    ran.get_custom_messages = lambda: [code]
    pipes = MagicMock(run=lambda **_: ran)
    try:
        failed = None
        for one in dagster["data_lake"](None, pipes):
            taken.append(one)  # noqa: PERF402 # also those before a failure
    except Failed as error:
        failed = error.allow_retries
    assert failed is retries
    assert taken == ["s"]


@pytest.mark.server
def test_the_export_for_dagster_reports_each_feed(installed: Path, tmp_path: Path) -> None:
    """With a package that writes down what it gets."""
    lake_at(installed / "data_lake").feeds.add(table_feed(source="GONE", warehouse=MAPPING))
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "dagster_pipes.py").write_text(
        "import contextlib\n"
        "class log:\n    error = staticmethod(lambda text: print('error', text))\n"
        "class Pipes:\n    log = log\n"
        "    def report_asset_materialization(self, metadata, asset_key):\n"
        "        print(asset_key, metadata['rows'], sorted(metadata))\n"
        "    report_custom_message = staticmethod(lambda code: print('code', code))\n"
        "open_dagster_pipes = lambda: contextlib.nullcontext(Pipes())\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(installed / "samples" / "dagster_export.py")],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "stub")},
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip

    reported = done.stdout.splitlines()
    assert reported[0] == "s 3 ['bytes', 'files', 'rows', 'seconds']"
    assert reported[1].startswith("error totals: ")
    assert (reported[2:], done.returncode) == (["code 1"], 0)


def test_the_board_and_the_rules_ask_for_metrics_that_are_written() -> None:
    board = json.loads((SAMPLES / "grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = re.findall(r"expr: (.*)", (SAMPLES / "prometheus_rules.yml").read_text(encoding="utf-8"))
    named = {name for text in [*asked, *rules] for name in re.findall(r"ksqldb_lake_\w+", text)}

    assert rules
    assert named <= METRICS
    assert METRICS - named <= {
        "ksqldb_lake_feed_healthy", "ksqldb_lake_feed_enabled", "ksqldb_lake_feed_last_export_timestamp_seconds",
        "ksqldb_lake_last_verify_of_new_timestamp_seconds",
    }  # fmt: skip
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(set(places)) == len(places)
    assert max(x + width for x, _, width, _ in places) == 24
