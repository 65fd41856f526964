"""`python -m benchmarks.tables`: a table's snapshot from Kafka, from the broker to committed Parquet.

The topic at a private broker has users by transaction types, from `benchmarks.rows`, encoded as ksqlDB writes them.
Making it is not measured, nor are imports.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from confluent_kafka import Producer

from benchmarks.page import head, show_figures
from benchmarks.process import Run, call_apart, without_native
from benchmarks.rows import SCHEMA, row
from demo.private_kafka import create_topic, running_kafka
from pipeline.columns import Column, SqlType
from pipeline.export.commit import ExportResult
from pipeline.export.commit import Run as ExportRun
from pipeline.export.snapshot import export_table
from pipeline.feeds import Feed
from pipeline.kafka.connection import Brokers
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.payload import Payload
from pipeline.kafka.table import KafkaTable
from pipeline.kafka.topic import look_at
from pipeline.lake.lake import Lake
from pipeline.limits import Limits, ReadPolicy
from pipeline.source import Source

FULL, QUICK = 5_000_000, 500_000
NATIVE, REFERENCE = "snapshot", "snapshot, decoded in Python"
GOALS_US = {NATIVE: 4, REFERENCE: 12}
PARTITIONS = 3
_TOPIC = "user_totals"
_AMOUNT, _AVERAGE = SqlType("DECIMAL", 18, 2), SqlType("DECIMAL", 18, 4)
COLUMNS = (
    Column("ID", SqlType("STRING"), "KEY"),
    *(Column(name.upper(), SqlType("STRING")) for name in SCHEMA.names[:6]),
    Column("TOTAL_AMOUNT", _AMOUNT),
    Column("TRANSACTION_COUNT", SqlType("BIGINT")),
    Column("AVG_AMOUNT", _AVERAGE),
    Column("MIN_AMOUNT", SqlType("DECIMAL", 12, 2)),
    Column("MAX_AMOUNT", SqlType("DECIMAL", 12, 2)),
    Column("LAST_TRANSACTION_DATE", SqlType("TIMESTAMP")),
)


def produce(servers: str, records: int, rows: int, seed: int = 1) -> None:
    """Makes the topic: `records` changes of `rows` rows."""
    create_topic(servers, _TOPIC, PARTITIONS, retention_ms="-1")
    client = Producer({"bootstrap.servers": servers, "linger.ms": 50, "batch.size": 1_000_000, "log_level": 0})
    for place, (key, value) in enumerate(_changes(records, rows, seed)):
        while True:
            try:
                client.produce(_TOPIC, value, key, place % rows % PARTITIONS)
                break
            except BufferError:
                client.poll(0.1)
    if client.flush(600):
        raise RuntimeError("not all records came to the broker")


def snapshot(servers: str, rows: int, lake: Path) -> float:
    """One snapshot into a new lake, in seconds. Raises RuntimeError when rows are missing."""
    table = KafkaTable(
        source=Source("USER_TOTALS", "table", _TOPIC, PARTITIONS, topic_id=look_at(Brokers(servers), _TOPIC).id),
        declaration=Declaration(
            COLUMNS, Payload("KAFKA", _of("KEY"), wrapped=False), Payload("JSON", _of("VALUE")), (), "", ""
        ),
        brokers=Brokers(servers), registry=None, lag=None, holds_all=True,
    )  # fmt: skip
    sources: Any = SimpleNamespace(find=lambda *_: table)
    feed = Feed(name="user_totals", type="table", source="USER_TOTALS")
    run = ExportRun("run", dt.datetime.now(dt.UTC), Limits(), 1_000_000, ReadPolicy(0, 60, 0.2), 0.2)
    done, started = ExportResult(), time.monotonic()
    with Lake(str(lake), lambda _: None, 168).writing(feed, {}) as written:
        export_table(sources, written, run, done)
    if done.rows != rows:
        raise RuntimeError(f"the snapshot has {done.rows} rows, not {rows}")
    return time.monotonic() - started


def measure(records: int, rows: int) -> Iterator[Run]:
    """Snapshots of a topic of so many records, which `rows` of each Run are, at a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-tables-") as folder:
        home, hidden = Path(folder) / "broker", Path(folder) / "hidden"
        for made in (home, hidden):
            made.mkdir()
        with running_kafka(home) as broker:
            produce(broker.servers, records, rows)
            yield call_apart(NATIVE, records, snapshot, broker.servers, rows, Path(folder) / "native")
            sys.path.insert(0, without_native(hidden))  # the process of the next call imports from there too
            yield call_apart(REFERENCE, records, snapshot, broker.servers, rows, Path(folder) / "reference")
            sys.path.remove(str(hidden))


def figures(runs: Iterable[Run]) -> str:
    lines = ["| way | records | seconds | CPU us a record | at most | | client MB |", "|---|---|---|---|---|---|---|"]
    for run in runs:
        goal = GOALS_US[run.way]
        verdict = "met" if run.cpu_us <= goal else "**above the goal**"
        measured = f"{run.rows:,} | {run.seconds:.1f} | {run.cpu_us:.2f} | {goal:g} | {verdict}"
        lines.append(f"| {run.way} | {measured} | {run.peak_bytes / 1e6:.0f} |")
    return "\n".join(lines)


def _of(role: str) -> tuple[tuple[str, SqlType], ...]:
    return tuple((column.name, column.type) for column in COLUMNS if column.role == role)


def _changes(records: int, rows: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    names = [column.name for column in COLUMNS[1:]]
    for place in range(records):
        values = row(place % rows, seed + place // rows)
        texts = [json.dumps(value, ensure_ascii=False) for value in values[:6]]
        texts += [*map(str, values[6:11]), str(round(values[11].timestamp() * 1000))]
        fields = ",".join(f'"{name}":{text}' for name, text in zip(names, texts, strict=True))
        yield f"{values[0]}|{values[5]}".encode(), f"{{{fields}}}".encode()


@click.command()
@click.option("--records", type=click.IntRange(1), help="Of the topic, each of its own row, in place of 5 million.")
def main(records: int | None) -> None:
    """Measure a table's snapshot from Kafka: of 5 million rows; with BENCH=quick a tenth of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the broker is stopped
    count, load = records or (QUICK if os.environ.get("BENCH") == "quick" else FULL), os.getloadavg()[0]
    runs = list(measure(count, count))
    what, today = f"{count:,} rows of 13 columns in {PARTITIONS} partitions", dt.datetime.now(dt.UTC).date()
    start = head("make bench-tables", what, 1, 1, ("pyarrow", "confluent-kafka"), today, load)
    show_figures("bench-tables", f"{start}\n\n{figures(runs)}", count == FULL)


if __name__ == "__main__":
    main()
