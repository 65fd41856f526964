"""A private broker: its jars are fetched once, what is missing is said, and it ends with its starter."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.private_kafka import resolved_jars, running_kafka
from demo.private_process import ServerMissing
from tests.support import ROOT

POM = ROOT / "demo" / "kafka" / "pom.xml"
START = """
import sys
from pathlib import Path
from demo.private_kafka import PrivateKafka
PrivateKafka(Path(sys.argv[1]), ["sh", "-c", f"echo $$ > {sys.argv[1]}/pid; exec sleep 600"], 1).start()
"""


def put_maven(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    program = folder / "mvn"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_two_at_once_fetch_the_jars_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "kafka"
    put_maven(tmp_path, monkeypatch, f"mkdir {home}/jars && echo fetched >> {tmp_path}/log")

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(resolved_jars, [home, home], [POM, POM]))

    assert found == [home / "jars"] * 2
    assert (tmp_path / "log").read_text() == "fetched\n"


def test_a_fetching_that_was_cut_short_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "kafka"
    put_maven(tmp_path, monkeypatch, f"mkdir {home}/jars; touch {home}/jars/half; echo 'no network here'; exit 1")
    with pytest.raises(ServerMissing, match="no network here"):
        resolved_jars(home, POM)
    put_maven(tmp_path, monkeypatch, f"mkdir {home}/jars && touch {home}/jars/whole")

    assert [jar.name for jar in resolved_jars(home, POM).iterdir()] == ["whole"]


def test_jars_of_an_older_version_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "kafka"
    put_maven(tmp_path, monkeypatch, f"mkdir {home}/jars && touch {home}/jars/new")
    (home / "jars").mkdir(parents=True)
    (home / "jars" / "old").touch()
    (home / "complete").write_text("another version")

    assert [jar.name for jar in resolved_jars(home, POM).iterdir()] == ["new"]


def test_without_java_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerMissing, match="no Java and Maven here: install Debian's"), running_kafka(tmp_path):
        pass


def test_a_broker_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", START, str(tmp_path)], cwd=ROOT) as starter:
        pid = tmp_path / "pid"
        while not pid.exists() or not pid.read_text().strip():
            time.sleep(0.02)
        broker = Path(f"/proc/{pid.read_text().strip()}")
        assert broker.exists()

        starter.send_signal(signal.SIGKILL)

    while broker.exists() and "Z" not in (broker / "stat").read_text().split()[2]:
        time.sleep(0.02)
