"""F10: one live feed, each run by REST or from a real Kafka, its runs killed at random, and the broker too."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from demo.private_kafka import PrivateKafka, create_topic, running_kafka
from tests.kafka.topics import write
from tests.torture.figures import Figure
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import Scene, following, scene, stopwatch

_PROMISES = ("lost rows", "duplicated rows", "rows from nowhere", "holes", "unreadable", "runs that did not resume")
_LATER = 75


@dataclass
class Live:
    """A stream whose rows arrive in the broker's topic and at the emulator, at the same offsets."""

    stage: Scene
    broker: PrivateKafka
    rng: random.Random
    figure: Figure
    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 1.0

    def arrive(self, count: int) -> None:
        """In Kafka first: whatever ksqlDB has, it has from there. Each run begins when both have the same."""
        source = self.stage.emulator.source("EVENTS")
        new = following(source.records, count)
        write(self.broker.servers, source, new)
        self.stage.emulator.append("EVENTS", new)

    def export(self, way: str, fate: str, arriving: int = 60) -> None:
        """`way` is REST or Kafka. `fate` is what becomes of the run: ends, killed, or broker killed."""
        workers = str(self.rng.randint(1, 4))
        servers = self.broker.servers if way == "Kafka" else ""
        if arriving and fate != "ends":
            self.arrive(self.rng.randint(1, arriving))
        started = time.monotonic()
        process = self.stage.start(
            "--stream", "events", KAFKA_BOOTSTRAP_SERVERS=servers, EXPORT_WORKERS=workers, STALL_S="120"
        )
        if fate == "ends" and arriving:
            self.arrive(self.rng.randint(1, arriving))
        elif fate != "ends":
            process.join(self.rng.uniform(0, self.slowest_s))
        if fate == "broker killed":
            self.broker.stop(signal.SIGKILL)
            self.broker.start()
        elif fate == "killed" and process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            self.counts["kills"] += 1
        process.join()
        if fate == "ends":
            self.slowest_s = time.monotonic() - started
        self.counts[way] += 1
        self.counts["kills of the broker"] += fate == "broker killed"
        expected = {"ends": (0,), "killed": (0, -signal.SIGKILL), "broker killed": (0, _LATER)}[fate]
        detail = f"run {self.figure.tried}, {way}, {workers} processes, {fate}: exit code {process.exitcode}"
        self.figure.count("runs that did not resume", detail, int(process.exitcode not in expected))


def two_ways(folder: Path, runs: int, seed: int, readers_every: int = 1) -> Figure:
    """Random runs; the lake's readers look after every so many, and see every row once after the last."""
    what = "runs by REST or from Kafka at random, 1 to 4 processes, rows arriving; runs and the broker killed at random"
    figure = Figure("F10", what, _PROMISES, unit="runs")
    rng, started = random.Random(seed), time.monotonic()
    home = folder / "broker"
    home.mkdir()
    with scene(folder, rows=600) as stage, running_kafka(home) as broker:
        live = Live(stage, broker, rng, figure)
        source = stage.emulator.source("EVENTS")
        create_topic(broker.servers, source.topic, source.partitions)
        write(broker.servers, source, source.records)
        while figure.tried < runs:
            fates = ["ends", "killed"] if figure.tried % 4 != 3 else ["broker killed"]
            fate = rng.choice(fates)
            live.export("Kafka" if fate == "broker killed" else rng.choice(["REST", "Kafka"]), fate)
            figure.tried += 1
            if figure.tried % readers_every == 0:
                check_readers(stage, figure, stage.source_rows(), f"run {figure.tried}")
        for way in ("REST", "Kafka"):
            live.export(way, "ends", arriving=0)
            check_complete(stage, figure, stage.source_rows(), f"the end, {way}")
    figure.details = ", ".join(f"{count} {name}" for name, count in sorted(live.counts.items()))
    figure.seconds = stopwatch(started)
    return figure
