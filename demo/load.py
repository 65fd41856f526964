"""`python -m demo.load --ksqldb URL --kafka HOST:PORT`: the demo on a real ksqlDB (7.5 or later) and its Kafka.

Creates the objects of `pipeline.sql` one after the other, skipping those that exist, then produces the events of the
emulator's data set, with their partitions and timestamps. The two lookup topics are produced first, and transactions
follow after the tables have read them, because a stream-table join misses rows that come earlier.
Needs confluent-kafka: python -m pip install -c requirements.lock '.[kafka]'
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Any

import click
import requests

from demo.events import Event, generate
from demo.statements import Statement, load_statements

_LOOKUPS = ("exchange_rates", "blacklisted_cities")
_SETTLE_S = 10
_TIMEOUT_S = 60


class LoadFailed(click.ClickException):
    """The server or the broker refuses; what was created or produced before stays."""


def create_objects(url: str, auth: tuple[str, str] | None, statements: Iterable[Statement]) -> list[str]:
    """Runs each statement unless its object exists; returns the names of those created."""
    there = _existing(url, auth)
    created = []
    for statement in statements:
        if statement.name in there:
            continue
        _ksql(url, auth, statement.text)
        created.append(statement.name)
    return created


def _existing(url: str, auth: tuple[str, str] | None) -> set[str]:
    entities = _ksql(url, auth, "SHOW STREAMS; SHOW TABLES;")
    return {entry["name"] for entity in entities for entry in entity.get("streams", entity.get("tables", ()))}


def _ksql(url: str, auth: tuple[str, str] | None, text: str) -> list[dict[str, Any]]:
    try:
        answer = requests.post(
            f"{url.rstrip('/')}/ksql",
            json={"ksql": text, "streamsProperties": {"auto.offset.reset": "earliest"}},
            headers={"Accept": "application/vnd.ksql.v1+json"},
            auth=auth,
            timeout=_TIMEOUT_S,
        )
    except requests.RequestException as error:
        raise LoadFailed(f"ksqlDB at {url} cannot be reached: {error}") from error
    if answer.status_code != 200:
        raise LoadFailed(f"ksqlDB refuses (status {answer.status_code}): {answer.text[:500]}\nStatement: {text}")
    entities: list[dict[str, Any]] = answer.json()
    return entities


def produce(producer: Any, events: Iterable[Event]) -> int:
    """Hands every event to the producer, partition and timestamp kept; returns how many. Raises LoadFailed."""
    failures: list[str] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failures.append(str(error))

    count = 0
    for event in events:
        while True:
            try:
                producer.produce(
                    event.topic,
                    key=event.key,
                    value=event.value,
                    partition=event.partition,
                    timestamp=event.timestamp,
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.5)
        producer.poll(0)
        count += 1
    producer.flush(_TIMEOUT_S)
    if failures:
        raise LoadFailed(f"{len(failures)} of {count} events were not delivered: {failures[0]}")
    return count


def load(
    url: str, auth: tuple[str, str] | None, producer: Any, events: list[Event], sleep: Callable[[float], None]
) -> tuple[list[str], int]:
    """Objects over topics and lookups first, then derived objects, then transactions."""
    statements = load_statements()
    created = create_objects(url, auth, [s for s in statements if not s.reads])
    count = produce(producer, [event for event in events if event.topic in _LOOKUPS])
    created += create_objects(url, auth, [s for s in statements if s.reads])
    sleep(_SETTLE_S)
    count += produce(producer, [event for event in events if event.topic not in _LOOKUPS])
    return created, count


@click.command()
@click.option("--ksqldb", "url", required=True, help="ksqlDB's REST address.")
@click.option("--kafka", required=True, metavar="HOST:PORT", help="Bootstrap server of its Kafka.")
@click.option("--user", default="", help="Basic authentication at ksqlDB.")
@click.option("--password", default="", envvar="KSQLDB_PASSWORD")
@click.option("--transactions", default=5000, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(url: str, kafka: str, user: str, password: str, transactions: int, seed: int) -> None:
    """Create the demo's objects on a real ksqlDB and produce its events to Kafka."""
    try:
        from confluent_kafka import Producer
    except ImportError:
        raise LoadFailed(
            "confluent-kafka is not installed: python -m pip install -c requirements.lock '.[kafka]'"
        ) from None
    producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "message.timeout.ms": 30_000})
    events = list(generate(transactions, dt.datetime.now(dt.UTC).date(), seed))
    created, count = load(url, (user, password) if user else None, producer, events, time.sleep)
    click.echo(f"created {', '.join(created) or 'nothing, all objects were there'}; produced {count:,} events")


if __name__ == "__main__":
    main()
