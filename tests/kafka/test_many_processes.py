"""A topic of a real broker read by several processes: every row once, and what is no row is counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline.columns import SqlType
from pipeline.kafka.connection import Brokers
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.payload import Payload
from pipeline.kafka.stream import KafkaStream
from pipeline.source import Source
from tests.export.toy_lake import rows_there, what_is_wrong
from tests.export.toy_run import START_MS, export
from tests.export.toy_source import STREAM_COLUMNS, Row, ToySource
from tests.kafka.topics import new_topic, producer

PARTITIONS = 3


@dataclass(frozen=True)
class OneTopic(ToySource):
    """The toy's stream, kept in a topic."""

    def find(self, *_: str) -> KafkaStream:  # type: ignore[override] # a stream of Kafka
        return self.stream  # type: ignore[return-value] # a stream of Kafka


def source_of(servers: str, topic: str) -> OneTopic:
    columns = ((STREAM_COLUMNS[3].name, SqlType("STRING")),)
    declaration = Declaration(STREAM_COLUMNS, Payload("KAFKA", ()), Payload("JSON", columns), (), "", "")
    stream = KafkaStream(
        source=Source("TOY", "stream", topic, PARTITIONS),
        declaration=declaration,
        brokers=Brokers(servers),
        registry=None,
    )
    return OneTopic(stream)  # type: ignore[arg-type] # a stream of Kafka


def send(servers: str, topic: str, numbers: range) -> Counter[Row]:
    """A record for each number, every seventh no row; returns the rows."""
    client, sent = producer(servers), Counter[Row]()
    for number in numbers:
        partition, offset = number % PARTITIONS, number // PARTITIONS
        text = json.dumps({"TEXT": f"v{number}"}) if number % 7 else ["{", None][number % 2]
        client.produce(topic, text, None, partition, timestamp=START_MS + number)
        if number % 7:
            sent[START_MS + number, partition, offset, f"v{number}"] += 1
    assert client.flush(60) == 0
    return sent


def test_a_topic_is_read_by_many_processes_and_each_row_is_there_once(kafka: str, lake_root: Path) -> None:
    topic = new_topic(kafka, PARTITIONS)
    source = source_of(kafka, topic)
    rows = send(kafka, topic, range(60))

    first = export(lake_root, source, workers=2)
    rows += send(kafka, topic, range(60, 90))
    results = [first, *(export(lake_root, source, number=number, workers=2) for number in (1, 2))]

    assert [result.error for result in results] == [None] * 3
    assert [result.exported.outcome for result in results] == ["exact"] * 3
    assert results[2].exported.commits == 0
    assert sum(result.exported.rows for result in results) == rows.total()
    assert any("left out" in note for note in first.exported.notes)
    assert rows_there(lake_root) == rows
    assert what_is_wrong(lake_root, source) == []  # type: ignore[arg-type] # a stream of Kafka
