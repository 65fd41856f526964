"""What happens to topics on a real broker, and what an export makes of it: every row once, no wait in vain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import Emulator, comes_true, running
from pipeline.feeds import Feed
from pipeline.kafka.connection import Brokers
from pipeline.kafka.topic import look_at
from tests.integration.commands import command
from tests.integration.small_sources import START_MS, a_stream
from tests.kafka.topics import has_partitions, made_topic, new_topic, producer
from tests.support import feed_for, lake_at

FEED = feed_for(a_stream([]))


@dataclass
class Bench:
    """A stream of one topic: `send` puts rows there, `export` takes them into a lake."""

    kafka: str
    server: Emulator
    root: Path
    topic: str = ""
    feed: Feed = FEED

    def use(self, topic: str) -> None:
        self.topic = topic
        self.server.replace_source(replace(a_stream([]), topic=topic))

    def send(self, ids: Sequence[int], partition: int = 0, text: str = "v", **more: Any) -> None:
        client = producer(self.kafka, **more)
        for number in ids:
            self.put(client, number, partition, text)
        assert client.flush(60) == 0

    def put(self, client: Any, number: int, partition: int = 0, text: str = "v", key: bytes | None = None) -> None:
        value = json.dumps({"ID": number, "TEXT": text}).encode()
        client.produce(self.topic, value, key, partition, timestamp=START_MS + number)

    def export(self, *arguments: str, code: int = 0, **env: str) -> str:
        done = self.try_export(*arguments, **env)
        assert done.exit_code == code, done.output
        return done.output

    def try_export(self, *arguments: str, **env: str) -> Result:
        lake_at(self.root).feeds.save(self.feed)
        ours = {"KSQLDB_URL": self.server.url, "KAFKA_BOOTSTRAP_SERVERS": self.kafka}
        return command(self.root, "export_to_data_lake", "--stream", "s", *arguments, env=ours | env)

    def ids(self) -> list[int]:
        table = lake_at(self.root).table(FEED)
        return sorted(number for batch in table.read_batches(table.files) for number in batch.column("id").to_pylist())

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka})


@pytest.fixture
def bench(kafka: str, lake_root: Path) -> Iterator[Bench]:
    with running(Dataset([a_stream([])])) as server:
        yield Bench(kafka, server, lake_root)


def test_rows_of_aborted_and_open_transactions_are_no_rows_and_no_gap(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka))
    client = producer(bench.kafka, **{"transactional.id": bench.topic})
    client.init_transactions(60)
    for first, commit in ((0, True), (10, False), (20, True), (30, False)):
        client.begin_transaction()
        for number in range(first, first + 5):
            bench.put(client, number)
        client.flush(60)
        (client.commit_transaction if commit else client.abort_transaction)(60)

    assert "end: exact" in bench.export()
    assert bench.ids() == [*range(5), *range(20, 25)]

    client.begin_transaction()
    bench.put(client, 40)
    client.flush(60)
    bench.send([41])

    assert "0 rows; end: exact" in bench.export()
    client.commit_transaction(60)
    assert "2 rows" in bench.export()
    assert bench.ids() == [*range(5), *range(20, 25), 40, 41]


def test_what_compaction_took_is_no_gap_and_the_rest_comes_once(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01",
                        max_compaction_lag_ms="200", delete_retention_ms="0"))  # fmt: skip
    client = producer(bench.kafka)
    for number in range(30):
        bench.put(client, number, key=b"the same")
    client.flush(60)
    bench.export()

    def compacted() -> bool:
        client.produce(bench.topic, b'{"ID": 1000, "TEXT": "rolls the segment"}', b"the same", 0)
        client.flush(60)
        return len(_offsets(bench)) < 30

    assert comes_true(compacted)
    again = bench.export()

    assert "end: exact" in again
    assert bench.ids()[:30] == list(range(30))


def _offsets(bench: Bench) -> list[int]:
    from pipeline.kafka.reader import Reader
    from pipeline.limits import Limits

    ends = look_at(Brokers(bench.kafka), bench.topic).offsets
    reader = Reader(Brokers(bench.kafka), bench.topic, {0: (ends[0].start, ends[0].end)}, Limits(stall_s=60))
    return [offset for records in reader.batches() for offset in records.offsets.tolist()]


def test_retention_past_the_bookmark_is_a_gap_that_a_person_accepts(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka))
    bench.send(range(5))
    bench.export()
    bench.send(range(5, 20))
    admin = bench.admin
    admin.delete_records([TopicPartition(bench.topic, 0, 12)])[TopicPartition(bench.topic, 0)].result(60)

    refused = bench.export(code=1)
    accepted = bench.export("--accept-gap")

    assert "now begins at offset 12, but the next row due for the lake is 5" in refused
    assert "offsets 5 to 11 are lost" in accepted
    assert bench.ids() == [*range(5), *range(12, 20)]


def test_a_topic_that_was_deleted_or_recreated_is_recognised(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka))
    bench.send(range(5))
    bench.export()
    admin, name = bench.admin, bench.topic
    admin.delete_topics([name])[name].result(60)
    assert comes_true(lambda: bench.try_export().exit_code == 1)
    gone = bench.export(code=1)
    assert comes_true(lambda: _can_be_made(bench.kafka, name))
    bench.send(range(3))
    shorter = bench.export(code=1)
    bench.send(range(3, 20))
    the_same_rows_and_more = bench.export(code=1)

    assert f"has no topic {name}" in gone
    assert "was recreated: it has another id" in shorter
    assert "was recreated: it has another id" in the_same_rows_and_more
    assert bench.ids() == list(range(5))


def _can_be_made(servers: str, name: str) -> bool:
    from confluent_kafka import KafkaException

    try:
        made_topic(servers, name)
    except KafkaException:
        return False
    return True


def test_partitions_that_are_added_are_read_from_their_start(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka))
    bench.send(range(3))
    bench.export()
    admin = bench.admin
    admin.create_partitions([NewPartitions(bench.topic, 3)])[bench.topic].result(60)
    assert comes_true(lambda: has_partitions(bench.kafka, bench.topic, 3))
    bench.send(range(10, 13), partition=2)

    assert "end: exact" in bench.export()
    assert bench.ids() == [0, 1, 2, 10, 11, 12]
    assert "0 rows; end: exact" in bench.export()


def test_a_record_of_10_mb_comes_whole(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka, max_message_bytes="20000000"))
    bench.send([0, 1], text="x" * 10_000_000)
    bench.send(range(2, 5))

    bench.export()

    assert bench.ids() == list(range(5))


def test_what_makes_no_row_is_counted_by_reason_and_never_again(bench: Bench) -> None:
    bench.use(new_topic(bench.kafka))
    client = producer(bench.kafka)
    bench.put(client, 0)
    for value in (None, b"{", None, b'{"ID": 1, "TEXT": "v"}', None):
        client.produce(bench.topic, value, None, 0, timestamp=START_MS)
    client.flush(60)

    bench.feed = FEED.model_copy(update={"keep_unreadable": True})

    first, second = bench.export(), json.loads(bench.try_export("--json").stdout)

    assert "2 rows" in first
    assert "3 records left out: no value" in first
    assert "1 record left out: " in first
    assert second["feeds"][0]["unreadable"] == {}
    lake = lake_at(bench.root)
    (noted,) = [
        entry["pipeline"]["unreadable"] for entry in lake.table(FEED).history() if "unreadable" in entry["pipeline"]
    ]
    (broken,) = noted.keys() - {"no value"}
    assert noted == {"no value": 3, broken: 1}
    kept = lake.table(bench.feed.of_unreadable())
    found = [tuple(row.values()) for batch in kept.read_batches(kept.files) for row in batch.to_pylist()]
    given = [(1, "no value", None), (2, broken, b"{"), (3, "no value", None), (5, "no value", None)]
    assert found == [(START_MS, 0, offset, reason, None, value) for offset, reason, value in given]


def test_no_broker_is_a_matter_of_time_and_no_topic_one_for_a_person(bench: Bench) -> None:
    bench.use("no-such-topic")

    away = bench.export(code=75, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9", KAFKA_TIMEOUT_S="1")
    unknown = bench.export(code=1)

    assert "Kafka at 127.0.0.1:9 does not answer" in away
    assert "has no topic no-such-topic" in unknown
    assert not look_for(bench, "no-such-topic")


def look_for(bench: Bench, topic: str) -> bool:
    return topic in bench.admin.list_topics(timeout=60).topics
