"""Loading the demo into a real server: as far as a stub of the server and of the producer can tell."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from demo import load as loader
from demo.events import generate
from demo.statements import load_statements
from tests.ksqldb.replay import Scripted, replaying

EVENTS = list(generate(30, dt.date(2026, 11, 20)))


class StubProducer:
    def __init__(self) -> None:
        self.sent: list[tuple[str, int, int]] = []

    def produce(self, topic: str, *, partition: int, timestamp: int, on_delivery: Any, **_: Any) -> None:
        self.sent.append((topic, partition, timestamp))
        on_delivery(None, None)

    def poll(self, _: float) -> None: ...
    def flush(self, _: float) -> None: ...


def test_statements_come_in_an_order_in_which_each_finds_what_it_reads() -> None:
    statements = load_statements()
    known: set[str] = set()
    for statement in statements:
        assert set(statement.reads) <= known, statement.name
        known.add(statement.name)
    assert len(known) == 12


def test_events_keep_their_partition_and_time_and_lookups_come_first() -> None:
    producer = StubProducer()
    listed = json.dumps([{"@type": "streams", "streams": []}, {"@type": "tables", "tables": []}]).encode()
    with replaying() as server:
        server.say(Scripted(pieces=[listed]))
        created, count = loader.load(server.url, None, producer, EVENTS, sleep=lambda _: None)

    assert count == len(EVENTS)
    assert len(created) == 12
    assert sorted(producer.sent) == sorted((event.topic, event.partition, event.timestamp) for event in EVENTS)
    assert {topic for topic, _, _ in producer.sent[:7]} == {"exchange_rates", "blacklisted_cities"}


def test_objects_that_exist_are_left_alone() -> None:
    names = [statement.name for statement in load_statements()]
    listed = json.dumps([{"@type": "streams", "streams": [{"name": name} for name in names]}]).encode()
    with replaying() as server:
        server.say(Scripted(pieces=[listed]))
        assert loader.create_objects(server.url, None, load_statements()) == []


def test_a_refusal_shows_the_servers_words_and_the_statement() -> None:
    with replaying() as server:
        server.say(Scripted(400, [b'{"message": "no"}']))
        with pytest.raises(loader.LoadFailed, match=r"status 400.*no"):
            loader.create_objects(server.url, None, load_statements())


def test_without_the_kafka_client_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)

    done = CliRunner().invoke(loader.main, ["--ksqldb", "http://127.0.0.1:9", "--kafka", "127.0.0.1:9"])

    assert done.exit_code == 1
    assert "pip install -c requirements.lock '.[kafka]'" in done.output
