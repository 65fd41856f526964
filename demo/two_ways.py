"""`python -m demo.two_ways`: one stream by REST and from Kafka by turns, with each row once.

The demo's transactions are produced to a private broker, and an emulated ksqlDB serves the same records at the same
partitions and offsets. The lake stays in `build/demo-kafka/data_lake` afterwards.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click
from confluent_kafka import Producer

from demo.definitions import Pipeline
from demo.events import PARTITIONS, Event, generate
from demo.load import produce
from demo.private_kafka import create_topic, running_kafka
from demo.private_process import ServerMissing
from demo.story import ROOT, query_lake, run, say
from ksqldb_emulator.testing import running

_TOPIC, _FEED = "transactions", "transaction_stream"


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "build" / "demo-kafka")
@click.option("--transactions", default=5000, show_default=True)
def main(folder: Path, transactions: int) -> None:
    """Export one stream by REST and from Kafka by turns."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the broker is stopped
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="ksqldb-lake-demo-") as home:
        try:
            with running_kafka(Path(home)) as broker:
                tell_the_story(broker.servers, folder / "data_lake", transactions)
        except ServerMissing as error:
            raise SystemExit(f"the demo needs a broker: {error}") from None


def tell_the_story(servers: str, lake: Path, transactions: int) -> None:
    """Creates the topic `transactions` at the brokers; runs scripts and shows their output."""
    today = dt.datetime.now(dt.UTC).date()
    events = [event for event in generate(transactions, today) if event.topic == _TOPIC]
    first, later = events[: len(events) * 9 // 10], events[len(events) * 9 // 10 :]
    pipeline = Pipeline()
    create_topic(servers, _TOPIC, PARTITIONS)
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 0})
    with running(pipeline.dataset()) as emulator:
        by_rest = os.environ | {"LAKE_ROOT": str(lake), "KSQLDB_URL": emulator.url, "QUIET_S": "1"}
        by_rest["KAFKA_BOOTSTRAP_SERVERS"] = ""
        from_kafka = by_rest | {"KAFKA_BOOTSTRAP_SERVERS": servers}
        say(f"{len(first):,} transactions are in Kafka, and in ksqlDB")
        _arrive(first, pipeline, producer)
        run(by_rest, "manage_feeds.py", "sync")
        _export("1. All of them by REST", by_rest)
        _export("2. From Kafka: from the same bookmarks, so nothing comes again", from_kafka)
        say(f"{len(later):,} more transactions arrive")
        _arrive(later, pipeline, producer)
        _export("3. From Kafka: a seek, and the new ones only", from_kafka)
        _export("4. By REST again: nothing is left to add", by_rest)
        say("5. Is the lake what ksqlDB gives, and is each row there once?")
        run(by_rest, "metadata_utils.py", "verify", _FEED, "--deep", "--source")
        query_lake(
            lake,
            "SELECT rowpartition, count(*) AS rows, count(DISTINCT rowoffset) AS offsets\n"
            f"FROM {_FEED} GROUP BY rowpartition ORDER BY rowpartition",
        )


def _arrive(events: list[Event], pipeline: Pipeline, producer: Producer) -> None:
    """To the topic, and to the stream over it: ksqlDB leaves out the record that cannot be read, and the null one."""
    produce(producer, events)
    for event in events:
        pipeline.add(event)


def _export(title: str, env: dict[str, str]) -> None:
    say(title)
    run(env, "export_to_data_lake.py", "--stream", _FEED)


if __name__ == "__main__":
    main()
