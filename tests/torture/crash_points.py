"""F2: a kill before and after every step by which an export changes files, the steps found by running it once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from data_lake_config import PROJECT_ROOT
from ksqldb_emulator.testing import PATIENCE_S
from tests.torture.figures import Figure
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import Scene, scene, stopwatch

_SOURCE = Path(__file__).with_name("steps.c")


class CompilerMissing(RuntimeError):
    """The layer that counts steps is C and has to be compiled."""


def compile_layer(folder: Path) -> Path:
    """The preloaded layer as a shared library; installs Debian's gcc with root rights when there is no compiler."""
    if shutil.which("gcc") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise CompilerMissing("no C compiler here: install Debian's packages gcc and libc6-dev")
        subprocess.run(["apt-get", "install", "-y", "-q", "gcc", "libc6-dev"], check=True, stdout=subprocess.DEVNULL)
    library = folder / "steps.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def every_crash_point(folder: Path, every: int) -> Figure:
    """Dies before and after each `every`-th step of one export of a stream and of a table."""
    what = "a kill before and after the file-system and commit steps of one export of a stream and of a table"
    promises = ("lost rows", "duplicated rows", "unreadable", "runs that did not resume", "kills that missed")
    figure = Figure("F2", what, promises, unit="crash points")
    started, told = time.monotonic(), []
    layer = compile_layer(folder)
    for way in ("--stream events", "--table latest"):
        place = folder / way.split()[1]
        place.mkdir()
        with scene(place, rows=30, days=1) as stage:
            figure.count("runs that did not resume", way, int(stage.run("--all") != 0))
            before = place / "before"
            shutil.copytree(stage.root, before)
            stage.add_rows(30)
            steps = _run(stage, layer, way, folder / "steps.log")
            told.append(f"{steps} steps of {way.split()[0].removeprefix('--')}")
            for number in range(1, steps + 1, every):
                for when in ("before", "after"):
                    shutil.rmtree(stage.root)
                    shutil.copytree(before, stage.root)
                    _die_and_resume(stage, layer, figure, way, (number, when))
    figure.told = " and ".join(told) + (", all of them" if every == 1 else f", one in {every}")
    figure.seconds = stopwatch(started)
    return figure


def _die_and_resume(stage: Scene, layer: Path, figure: Figure, way: str, point: tuple[int, str]) -> None:
    source = stage.source_rows()
    when = f"{way}, {point[1]} step {point[0]}"
    figure.tried += 1
    code = _start(stage, layer, way, None, point)
    figure.count("kills that missed", when, int(code != -9))
    check_readers(stage, figure, source, when)
    figure.count("runs that did not resume", when, int(stage.run("--all") != 0))
    check_complete(stage, figure, source, when)


def _run(stage: Scene, layer: Path, way: str, log: Path) -> int:
    """Runs the export once to its end; returns the number of its steps."""
    log.unlink(missing_ok=True)
    _start(stage, layer, way, log, None)
    return len(log.read_text(encoding="utf-8").splitlines())


def _start(stage: Scene, layer: Path, way: str, log: Path | None, point: tuple[int, str] | None) -> int:
    env = os.environ | stage.env | {"LD_PRELOAD": str(layer), "STEPS_ROOT": str(stage.root)}
    if log is not None:
        env["STEPS_LOG"] = str(log)
    if point is not None:
        env |= {"STEPS_KILL": str(point[0]), "STEPS_WHEN": point[1]}
    command = [sys.executable, str(PROJECT_ROOT / "export_to_data_lake.py"), *way.split()]
    return subprocess.run(command, env=env, check=False, capture_output=True, timeout=PATIENCE_S).returncode
