"""F15: as F10, and some runs have Spark's executors read the topic; the lake is on a disk, or in a bucket.

Executors are processes of their own, and are killed too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ksqldb_emulator.testing import comes_true
from tests.private_spark import EXECUTORS, environment
from tests.torture.bucket_scene import Place, scene_at
from tests.torture.figures import Figure
from tests.torture.two_ways import CASES, FIRST_ROWS, PROMISES, SOME_ROWS, WHAT, Case, Live, hand_over

PLACES: tuple[Place, ...] = ("disk", "bucket")
_ENV = {"COMMIT_ROWS": "20"}
"""So that a run has tasks for several executors."""


def _executor_killed(live: Live) -> None:
    """One of Spark's executors at a random moment of its life, while the driver goes on."""
    live.topic.arrive(SOME_ROWS)

    def kill() -> None:
        assert live.process is not None
        driver = live.process.pid or 0
        comes_true(lambda: bool(_executors(driver)) or live.process is None or live.process.exitcode is not None)
        time.sleep(live.rng.uniform(0, 3))
        for executor in live.rng.sample(found := _executors(driver), min(1, len(found))):
            os.kill(executor, signal.SIGKILL)
            live.counts["killed executors"] += 1

    live.run("Spark", kill)


def _executors(driver: int) -> list[int]:
    """The processes below `driver` that are Spark's executors."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    processes = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in processes}

    def is_below(process: int) -> bool:
        while process in parents and process != driver:
            process = parents[process]
        return process == driver

    found = [int(pid) for pid, _, *command in processes if "CoarseGrainedExecutorBackend" in "".join(command)]
    return sorted(filter(is_below, found))


CASES_OF_SPARK: tuple[tuple[Case, int], ...] = (*CASES, (_executor_killed, 3))


def three_ways(folder: Path, runs: int, seed: int, master: str = EXECUTORS, places: Sequence[Place] = PLACES) -> Figure:
    """As `two_ways.two_ways`, with Spark as a third way; so many runs in each of the places."""
    what = f"runs by REST, from Kafka or by Spark at random, a lake on a disk and one in a bucket, {WHAT}"
    figure = Figure("F15", f"{what}; executors killed", PROMISES, unit="runs")
    for number, place in enumerate(places, 1):
        home = folder / place
        home.mkdir()
        with scene_at(place, home, FIRST_ROWS) as stage:
            stage.new_lake("first")
            spark = {"EXPORT_ENGINE": "spark"} | environment(home, master)
            hand_over(home, stage, figure, runs * number, seed + number, 2, CASES_OF_SPARK, _ENV, spark)
    return figure
