"""F10: one live feed, each run by REST or from a real Kafka at random, while all that happens to topics happens.

Runs are killed, and the broker too; transactions are aborted, records compacted and deleted, partitions added, and the
topic is deleted and recreated, between runs and while one reads.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from demo.private_kafka import PrivateKafka, running_kafka
from tests.torture.figures import Figure
from tests.torture.live_topic import LiveTopic
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import Scene, scene, stopwatch

PROMISES = ("lost rows", "duplicated rows", "rows from nowhere", "holes", "unreadable", "wrong exit codes")
DONE, REFUSED, LATER = 0, 1, 75
SOME_ROWS, FIRST_ROWS = 60, 600


@dataclass
class Live:
    """The feed: its lake, the topic that its rows come to, and what was counted so far."""

    stage: Scene
    broker: PrivateKafka
    topic: LiveTopic
    rng: random.Random
    figure: Figure
    counts: Counter[str] = field(default_factory=Counter)
    env: Mapping[str, str] = field(default_factory=dict)
    spark: Mapping[str, str] = field(default_factory=dict)
    process: ForkServerProcess | None = None
    slowest_s: dict[str, float] = field(default_factory=lambda: {"REST": 1.0, "Kafka": 1.0, "Spark": 10.0})

    def run(
        self,
        way: str,
        meanwhile: Callable[[], object] = lambda: None,
        expected: Collection[int] = (DONE,),
        accept_gap: bool = False,
        killed: bool = False,
    ) -> int:
        """An export, and what happens while it runs; its exit code, of which the `expected` ones are right."""
        workers = str(self.rng.randint(2 if way == "Spark" else 1, 4))
        env = {"KAFKA_BOOTSTRAP_SERVERS": "" if way == "REST" else self.broker.servers}
        env |= {"EXPORT_WORKERS": workers, "STALL_S": "120"}
        env |= {**self.env, **(self.spark if way == "Spark" else {})}
        arguments = ("--stream", "events", *(["--accept-gap"] if accept_gap else []))
        started = time.monotonic()
        self.process = process = self.stage.start(*arguments, output=None, **env)
        meanwhile()
        if killed:
            process.join(self.rng.uniform(0, self.slowest_s[way]))
            process.kill()
        process.join()
        self.counts["kills"] += process.exitcode == -signal.SIGKILL
        if not killed and expected == (DONE,):
            self.slowest_s[way] = time.monotonic() - started
        code = process.exitcode
        assert code is not None
        allowed = {*expected, -signal.SIGKILL} if killed else set(expected)
        detail = f"run {self.figure.tried}, {way}, {workers} processes, {arguments[2:]}: {code}, not {sorted(allowed)}"
        self.figure.count("wrong exit codes", detail, int(code not in allowed))
        self.figure.tried += 1
        self.counts[way] += 1
        return code

    def arrive(self) -> None:
        """Rows; now and then those of a transaction, or one of 10 MB."""
        drawn, count = self.rng.random(), self.rng.randint(1, SOME_ROWS)
        if drawn < 0.25:
            self.topic.transact(count, commit=drawn < 0.1)
            self.counts["committed transactions" if drawn < 0.1 else "aborted transactions"] += 1
        elif drawn < 0.3:
            self.topic.arrive_large()
            self.counts["records of 10 MB"] += 1
        else:
            self.topic.arrive(count)

    @property
    def bookmarks(self) -> dict[int, int]:
        """By partition the next offset that is due for the lake."""
        marks = self.stage.lake.table(self.stage.stream).bookmarks()
        return {partition: mark.next_offset for partition, mark in marks.items()}

    @property
    def any_way(self) -> str:
        return self.rng.choice(self.ways)

    @property
    def ways(self) -> list[str]:
        return ["REST", "Kafka", *(["Spark"] if self.spark else [])]

    def check(self, when: str) -> None:
        check_readers(self.stage, self.figure, self.topic.source_rows, when, self.topic.optional)


def _rows_arrive(live: Live) -> None:
    live.run(live.any_way, live.arrive)


def _run_killed(live: Live) -> None:
    live.arrive()
    live.run(live.any_way, killed=True)


def _broker_restarted(live: Live) -> None:
    """By a power cut or in good order, at a random moment of a run."""
    live.arrive()

    def restart() -> None:
        time.sleep(live.rng.uniform(0, live.slowest_s["Kafka"]))
        live.broker.stop(live.rng.choice([signal.SIGKILL, signal.SIGTERM]))
        live.broker.start()

    live.run("Kafka", restart, (DONE, LATER))
    live.counts["restarts of the broker"] += 1


def _compacted(live: Live) -> None:
    live.arrive()
    bookmarks = live.bookmarks
    if live.rng.random() < 0.5:
        live.run("Kafka", lambda: live.topic.compact(bookmarks))
    else:
        live.topic.compact(bookmarks)
        live.run(live.any_way)
    live.counts["compactions"] += 1


def _expired(live: Live) -> None:
    """Retention before or past the bookmark. Past it, a person has to accept the gap."""
    live.arrive()
    bookmarks, past = live.bookmarks, live.rng.random() < 0.7
    lost = False

    def expire() -> None:
        nonlocal lost
        lost = live.topic.expire(bookmarks, past)

    if live.rng.random() < 0.3:
        live.run("Kafka", expire, (DONE, REFUSED, LATER))
        live.run(live.any_way, accept_gap=True)
    else:
        expire()
        live.run(live.any_way, expected=(REFUSED if lost else DONE,))
        if lost:
            live.run(live.any_way, accept_gap=True)
    live.counts["retentions past the bookmark" if lost else "retentions"] += 1


def _partition_added(live: Live) -> None:
    if live.rng.random() < 0.5:
        live.run("Kafka", live.topic.add_partition)
    else:
        live.topic.add_partition()
    live.run(live.any_way, live.arrive)
    live.counts["added partitions"] += 1


def _recreated(live: Live) -> None:
    """The lake of the old topic stays as it is; the new one gets a lake of its own."""
    live.topic.arrive(SOME_ROWS)
    for way in live.ways:
        live.run(way)
    known = set(live.topic.rows)
    live.topic.arrive(SOME_ROWS)
    rows, optional = live.topic.source_rows, live.topic.optional | (set(live.topic.rows) - known)
    if live.rng.random() < 0.3:
        live.run("Kafka", live.topic.recreate, (DONE, REFUSED, LATER))
    else:
        live.topic.recreate()
    for way in live.ways:
        live.run(way, expected=(REFUSED,))
    check_complete(live.stage, live.figure, rows, f"run {live.figure.tried}, a recreated topic", optional)
    live.counts["recreated topics"] += 1
    live.stage.new_lake(f"lake-{live.figure.tried}")
    live.run(live.any_way)


Case = Callable[[Live], None]
CASES: tuple[tuple[Case, int], ...] = (
    (_rows_arrive, 8),
    (_run_killed, 8),
    (_broker_restarted, 1),
    (_compacted, 1),
    (_expired, 2),
    (_partition_added, 1),
    (_recreated, 1),
)


def _drawn(rng: random.Random, all_cases: Sequence[tuple[Case, int]]) -> Iterator[Case]:
    """Cases without end, each as often as it is due."""
    while True:
        cases = [case for case, times in all_cases for _ in range(times)]
        rng.shuffle(cases)
        yield from cases


WHAT = (
    "rows arriving; runs and the broker killed, transactions aborted, topics compacted, cut by retention, widened and "
    "recreated, between runs and within"
)


def two_ways(folder: Path, runs: int, seed: int, readers_every: int = 1) -> Figure:
    """Random runs; the lake's readers look after every so many cases, and see every row once after the last."""
    figure = Figure("F10", f"runs by REST or from Kafka at random, 1 to 4 processes, {WHAT}", PROMISES, unit="runs")
    with scene(folder, rows=FIRST_ROWS) as stage:
        hand_over(folder, stage, figure, runs, seed, readers_every)
    return figure


def hand_over(
    folder: Path,
    stage: Scene,
    figure: Figure,
    runs: int,
    seed: int,
    readers_every: int,
    cases: Sequence[tuple[Case, int]] = CASES,
    env: Mapping[str, str] = {},
    spark: Mapping[str, str] = {},
) -> None:
    """Random cases on one feed, until the figure has so many runs. `env` is that of all runs, `spark` that of runs by
    Spark, if there are any.
    """
    rng, started = random.Random(seed), time.monotonic()
    home = folder / "broker"
    home.mkdir()
    with running_kafka(home) as broker:
        live = Live(stage, broker, LiveTopic(broker.servers, stage.emulator, rng), rng, figure, env=env, spark=spark)
        live.topic.start()
        for number, case in enumerate(_drawn(rng, cases), 1):
            case(live)
            if number % readers_every == 0:
                live.check(f"run {figure.tried}, {case.__name__}")
            if figure.tried >= runs:
                break
        for way in live.ways:
            live.run(way)
            check_complete(stage, figure, live.topic.source_rows, f"the end, {way}", live.topic.optional)
    before = f"{figure.details}; " if figure.details else ""
    figure.details = before + ", ".join(f"{count} {name}" for name, count in sorted(live.counts.items()))
    figure.seconds += stopwatch(started)
