"""The recorded tables, folded from topics of a real broker: the rows that REST gives, bit by bit."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_lake_config import DEFAULT_FEEDS
from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline.feeds import ReadFrom
from pipeline.fingerprint import ContentHash
from pipeline.kafka.connection import Brokers
from pipeline.kafka.source import connected
from pipeline.kafka.table import KafkaTable
from pipeline.ksqldb.connection import Connection
from pipeline.limits import Limits, ReadPolicy
from pipeline.warehouse.sources import source_snapshots
from tests.integration.commands import ran
from tests.kafka.topics import new_topic, recorded_payloads, write
from tests.recorded_dataset import recorded_dataset
from tests.support import feed_for, lake_at

TABLES = {
    "USER_TRANSACTION_SUMMARY",
    "USER_TRANSACTION_SUMMARY_EUR",
    "PAYMENT_METHOD_TOTALS",
    "PRODUCT_PURCHASE_COUNTS",
    "ALL_TYPES_TABLE",
    "FILTERED_TABLE",
    "SOURCE_TABLE",
    "TUMBLING_TABLE",
}
SOME_TIME_MS = 1_793_491_200_000


@pytest.mark.vectors
def test_tables_that_change_their_way_have_the_same_rows(kafka: str, tmp_path: Path) -> None:
    dice = random.Random("changes")
    recorded = [source for source in recorded_dataset().sources if source.name in TABLES]
    assert len(recorded) == len(TABLES)
    sources = [with_history(source, new_topic(kafka, source.partitions), dice) for source in recorded]
    for source, origin in zip(sources, recorded, strict=True):
        write(kafka, source, source.records, raw=recorded_payloads(origin.topic))
    ways: tuple[ReadFrom, ...] = ("ksqldb", "kafka", "ksqldb")

    with running(Dataset(sources)) as server:
        env = {"KSQLDB_URL": server.url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
        for way in ways:
            for source in sources:
                lake_at(tmp_path).feeds.save(feed_for(source, read_from=way))
            ran(tmp_path, "export_to_data_lake", "--all", env=env)
            if way == "kafka":
                verified = ran(tmp_path, "metadata_utils", "verify", "--deep", "--source", env=env).output
                assert verified.count("as on the server") == len(sources), verified
        for_warehouse = read_for_the_warehouse(server, kafka)

    for source in sources:
        by_rest, from_kafka, by_rest_again = versions_of(tmp_path, source)
        assert by_rest[0] > 0
        assert from_kafka == by_rest == by_rest_again, source.name
        if source.name == for_warehouse[0]:
            assert for_warehouse[1] == by_rest


def read_for_the_warehouse(server: Emulator, servers: str) -> tuple[str, tuple[int, str]]:
    """A table as `sync_to_mysql.py --source ksqldb` reads it: its name, how many rows it has, and their hash."""
    (feed,) = [feed for feed in DEFAULT_FEEDS if feed.name == "payment_method_totals"]
    policy, now, found = ReadPolicy(0, 60, 0.2), dt.datetime.now(dt.UTC), ContentHash()
    with (
        connected(Connection(server.url), Brokers(servers), None) as sources,
        source_snapshots(sources, [feed], Limits(), policy, {}, now) as (snapshot,),
    ):
        assert isinstance(sources.find(feed.source), KafkaTable)
        for batch in snapshot.batches():
            found.add_batch(batch)
    return feed.source.upper(), (found.row_count, found.hexdigest())


def versions_of(root: Path, source: Source) -> list[tuple[int, str]]:
    """The number of rows of each version, and their hash."""
    table, found = lake_at(root).table(feed_for(source)), list[ContentHash]()
    for _, files in sorted(table.versions().items()):
        found.append(ContentHash())
        for batch in table.read_batches(files):
            found[-1].add_batch(batch)
    return [(version.row_count, version.hexdigest()) for version in found]


@pytest.mark.vectors
def test_a_table_of_sessions_has_the_rows_that_a_query_by_key_gives(kafka: str, tmp_path: Path) -> None:
    (recorded,) = [source for source in recorded_dataset().sources if source.name == "SESSION_TABLE"]
    source = with_history(recorded, new_topic(kafka, recorded.partitions), random.Random(0))
    write(kafka, source, source.records)

    with running(Dataset([source])) as server:
        lake_at(tmp_path).feeds.save(feed_for(source))
        env = {"KSQLDB_URL": server.url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
        ran(tmp_path, "export_to_data_lake", "--all", env=env)

    table = lake_at(tmp_path).table(feed_for(source))
    assert [row for batch in table.read_batches(table.files) for row in batch.to_pylist()] == [
        {"s": "dup", "windowstart": 1793502000000, "windowend": 1793503800000, "n": 2}
    ]


def with_history(source: Source, topic: str, dice: random.Random) -> Source:
    """The table's rows, each after others of the same key, and rows that were deleted; a key stays in its partition."""
    if source.name == "SOURCE_TABLE":  # whose topic was recorded
        return replace(source, topic=topic, read_queries=())
    changes = list(_changes(source, dice))
    ends = [0] * source.partitions
    records = []
    for partition, record in changes:
        rowtime = record.rowtime or SOME_TIME_MS
        records.append(replace(record, partition=partition, offset=ends[partition], rowtime=rowtime))
        ends[partition] += 1
    return replace(source, topic=topic, records=records)


def _changes(source: Source, dice: random.Random) -> Iterator[tuple[int, Record]]:
    by_row = []
    for number, record in enumerate(source.records):
        assert record.values is not None
        partition, key = number % source.partitions, {name: record.values[name] for name in source.keys}
        outdated = replace(record, values=dice.choice(source.records).values | key)  # type: ignore[operator] # it has some
        deleted = replace(record, values=None, key=key)
        gone = {name: _other(value) for name, value in key.items()}
        by_row += [
            [(partition, each) for each in [*dice.choice([[outdated, deleted], [outdated], []]), record]],
            [(partition, replace(record, values=record.values | gone)), (partition, replace(deleted, key=gone))],
        ]
    while by_row:
        one = dice.choice(by_row)
        yield one.pop(0)
        if not one:
            by_row.remove(one)


def _other(value: Any) -> Any:
    return f"{value} (gone)" if isinstance(value, str) else value + 10**6
