"""Feeds that move between REST and Kafka from run to run have the rows of feeds that never moved, bit by bit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import ReadFrom
from pipeline.fingerprint import ContentHash
from tests.integration.commands import ran
from tests.kafka.topics import new_topic, recorded_payloads, write
from tests.recorded_dataset import recorded_dataset
from tests.support import feed_for, lake_at

OBJECTS = {
    "TRANSACTION_STREAM",
    "TRANSACTION_FLATTENED",
    "TRANSACTION_STREAM_ANONYMIZED",
    "TRANSACTION_STREAM_BLACKLISTED",
    "ALL_TYPES",
    "DEEP",
    "TT",
    "mixed-Case",
}
ROUNDS = 4
SOME_TIME_MS = 1_793_491_200_000


@pytest.mark.vectors
def test_feeds_that_change_their_way_have_the_rows_of_feeds_that_do_not(kafka: str, tmp_path: Path) -> None:
    dice = random.Random("ways")
    recorded = [source for source in recorded_dataset().sources if source.name in OBJECTS]
    assert len(recorded) == len(OBJECTS)
    sources = [_empty(source, new_topic(kafka, source.partitions)) for source in recorded]
    parts = [_in_parts(source.records, dice) for source in recorded]

    with running(Dataset(sources)) as server:
        for number in range(ROUNDS):
            for source, origin, due in zip(sources, recorded, parts, strict=True):
                write(kafka, source, due[number], raw=recorded_payloads(origin.topic))
                server.append(source.name, due[number])
            ways: list[ReadFrom] = [dice.choice(("kafka", "ksqldb")) for _ in sources]
            export(tmp_path / "both", server, kafka, sources, ways)
        for way in ("kafka", "ksqldb"):
            export(tmp_path / way, server, kafka, sources, [way] * len(sources))
        for servers in (kafka, ""):
            for source in sources:
                lake_at(tmp_path / "both").feeds.save(feed_for(source))
            env = {"KSQLDB_URL": server.url, "KAFKA_BOOTSTRAP_SERVERS": servers}
            ran(tmp_path / "both", "metadata_utils", "verify", "--deep", "--source", env=env)

    for source in sources:
        by_rest = rows_of(tmp_path / "ksqldb", source)
        assert by_rest[0] > 0
        assert rows_of(tmp_path / "kafka", source) == by_rest, source.name
        assert rows_of(tmp_path / "both", source) == by_rest, source.name


def _empty(source: Source, topic: str) -> Source:
    return replace(source, topic=topic, records=[], read_queries=(), write_query=None)


def _in_parts(records: Sequence[Record], dice: random.Random) -> list[list[Record]]:
    """The records of each partition in order, some a round. The client takes the time 0 for "now"."""
    due = sorted(records, key=lambda record: (record.offset, record.partition))
    due = [replace(record, rowtime=record.rowtime or SOME_TIME_MS) for record in due]
    cuts = sorted(dice.randint(0, len(due)) for _ in range(ROUNDS - 1))
    return [due[start:end] for start, end in zip([0, *cuts], [*cuts, len(due)], strict=True)]


def export(root: Path, server: Emulator, servers: str, sources: Sequence[Source], ways: Sequence[ReadFrom]) -> None:
    """All feeds, each by its way; a read from Kafka always comes to the true end."""
    for source, way in zip(sources, ways, strict=True):
        lake_at(root).feeds.save(feed_for(source, read_from=way))
    env = {"KSQLDB_URL": server.url, "KAFKA_BOOTSTRAP_SERVERS": servers, "QUIET_S": "0.3"}
    done = ran(root, "export_to_data_lake", "--all", env=env)
    for source, way in zip(sources, ways, strict=True):
        (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{source.name.lower()}: ")]
        assert ("end: exact" in line) == (way == "kafka"), line


def rows_of(root: Path, source: Source) -> tuple[int, str]:
    table, found = lake_at(root).table(feed_for(source)), ContentHash()
    for batch in table.read_batches(table.files):
        found.add_batch(batch)
    return found.row_count, found.hexdigest()
