"""`python -m benchmarks.kafka`: a stream from Kafka to committed Parquet, against a loop that only counts bytes.

Starts a private broker, and an emulated server that says what the stream's columns are. The export is the whole
command, from Python's start to its end; the loop is confluent-kafka's `consume` with its own defaults, from the
making of its consumer to the last record. Both are run by turns, and CPU is of the client's processes alone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition

from benchmarks import kafka_rows
from benchmarks.page import head, show_figures
from benchmarks.process import Run, call_apart, run_command, without_native
from data_lake_config import PROJECT_ROOT
from demo.private_kafka import create_topic, running_kafka
from ksqldb_emulator.testing import running

LOOP, NATIVE, REFERENCE, NEW = "consume loop", "export", "export, decoded in Python", "export of 1,000 new rows"
GOALS = {NATIVE: 0.6, REFERENCE: 0.3}
"""Rows a second, as a share of the loop's."""
NEW_ROWS, NEW_ROWS_GOAL_S = 1000, 2.0
_CONSUMED = 10_000


@dataclass(frozen=True)
class Sizes:
    """The rows of a run, the number of rounds, and the rows of the topic to which new ones are added."""

    rows: int
    rounds: int
    topic_rows: int


FULL, QUICK = Sizes(2_000_000, 5, 10_000_000), Sizes(200_000, 2, 200_000)


def measure(sizes: Sizes) -> list[Run]:
    with tempfile.TemporaryDirectory(prefix="bench-kafka-") as folder, _servers(Path(folder)) as (brokers, settings):
        kafka_rows.produce(brokers, range(sizes.rows))
        runs = list[Run]()
        for number in range(sizes.rounds):
            ways = (LOOP, NATIVE, REFERENCE) if number % 2 == 0 else (REFERENCE, NATIVE, LOOP)
            for way in ways:
                if way == LOOP:
                    runs.append(call_apart(LOOP, sizes.rows, count_bytes, brokers, sizes.rows))
                else:
                    lake = Path(folder) / f"lake-{way == NATIVE}-{number}"
                    runs.append(_export(way, sizes.rows, lake, settings))
                _tell(runs[-1])
        runs += _new_rows(sizes, brokers, Path(folder) / "long", settings)
    return runs


def count_bytes(servers: str, count: int) -> float:
    """Seconds that the bare loop takes for so many records."""
    started = time.monotonic()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(kafka_rows.TOPIC, number, 0) for number in range(kafka_rows.PARTITIONS)])
    size_bytes = 0
    while count > 0:
        messages = consumer.consume(_CONSUMED, 1.0)
        size_bytes += sum(map(len, messages))
        count -= len(messages)
    seconds = time.monotonic() - started
    consumer.close()
    return seconds


def figures(runs: Sequence[Run]) -> str:
    """Markdown: what each way took, and how it stands against the goals."""
    lines = [
        "| way | rows | n | seconds | rows/s | CPU us a row | against the loop | goal | client MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rates = {way: median(run.rate for run in runs if run.way == way) for way in {run.way for run in runs}}
    for way in (LOOP, NATIVE, REFERENCE, NEW):
        if not (own := [run for run in runs if run.way == way]):
            continue
        seconds, cpu_us = median(run.seconds for run in own), median(run.cpu_us for run in own)
        share, goal = f"{rates[way] / rates[LOOP]:.2f}" if LOOP in rates else "", f"{GOALS.get(way, '')}"
        if way == NEW:
            share, goal = "", f"{NEW_ROWS_GOAL_S:g} s"
        lines.append(
            f"| {way} | {own[0].rows:,} | {len(own)} | {seconds:.2f} | {rates[way]:,.0f} | {cpu_us:.2f} | {share} |"
            f" {goal} | {max(run.peak_bytes for run in own) / 1e6:.0f} |"
        )
    return "\n".join(lines)


def _new_rows(sizes: Sizes, brokers: str, lake: Path, settings: dict[str, str]) -> Iterator[Run]:
    """New rows at the end of a long topic whose other rows are in the lake already."""
    kafka_rows.produce(brokers, range(sizes.rows, sizes.topic_rows))
    count = max(sizes.rows, sizes.topic_rows)
    _export("all", count, lake, settings)
    for number in range(sizes.rounds):
        first = count + number * NEW_ROWS
        kafka_rows.produce(brokers, range(first, first + NEW_ROWS))
        run = _export(NEW, NEW_ROWS, lake, settings, in_lake=first + NEW_ROWS)
        _tell(run)
        yield run


def _export(way: str, count: int, lake: Path, settings: dict[str, str], in_lake: int = 0) -> Run:
    """Runs the command and checks its result."""
    environment = settings | {"LAKE_ROOT": str(lake)}
    if not lake.exists():
        options = ("--type", "stream", "--source", kafka_rows.STREAM)
        add = [sys.executable, str(PROJECT_ROOT / "manage_feeds.py"), "add", "--name", kafka_rows.FEED, *options]
        run_command("add", 1, add, environment)
    if way == REFERENCE:
        environment |= {"PYTHONPATH": without_native(lake)}
    command = [sys.executable, str(PROJECT_ROOT / "export_to_data_lake.py"), "--stream", kafka_rows.FEED]
    run = run_command(way, count, command, environment)
    found = sum(pq.read_metadata(path).num_rows for path in lake.rglob("date=*/*.parquet"))
    assert found == (in_lake or count), f"{found} rows are in the lake, not {in_lake or count}"
    return run


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A broker with the topic, still empty, and the settings with which the commands find it and the stream."""
    (home := folder / "broker").mkdir()
    with running_kafka(home) as broker, running(kafka_rows.described()) as server:
        create_topic(broker.servers, kafka_rows.TOPIC, kafka_rows.PARTITIONS, retention_ms="-1")
        yield broker.servers, {"KSQLDB_URL": server.url, "KAFKA_BOOTSTRAP_SERVERS": broker.servers}


def _tell(run: Run) -> None:
    click.echo(
        f"{run.way:<28} {run.rows:>10,} rows {run.seconds:7.2f} s {run.rate:>9,.0f} rows/s {run.cpu_us:6.2f} us of CPU"
        f" a row {run.peak_bytes / 1e6:6.0f} MB"
    )


@click.command()
@click.option("--rows", "row_count", type=click.IntRange(1), help="Rows that are read by turns.")
@click.option("--rounds", type=click.IntRange(1))
@click.option("--topic-rows", type=click.IntRange(1), help="Rows before the new ones at a topic's end.")
def main(row_count: int | None, rounds: int | None, topic_rows: int | None) -> None:
    """Measure a stream's export from Kafka; with BENCH=quick of few rows. Only a full run writes its page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    usual = QUICK if os.environ.get("BENCH") == "quick" else FULL
    sizes = Sizes(row_count or usual.rows, rounds or usual.rounds, topic_rows or usual.topic_rows)
    load = os.getloadavg()[0]
    runs = measure(sizes)
    what = f"{sizes.rows:,} rows of 16 columns in {kafka_rows.PARTITIONS} partitions, then {sizes.topic_rows:,}"
    today = dt.datetime.now(dt.UTC).date()
    start = head("make bench-kafka", what, sizes.rounds, kafka_rows.SEED, ("pyarrow", "confluent-kafka"), today, load)
    show_figures("bench-kafka", f"{start}\n\n{figures(runs)}", sizes == FULL)


if __name__ == "__main__":
    main()
