"""Tables folded from topics of a real broker: what ksqlDB's table has, at known offsets, or a refusal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.columns import Column, SqlType
from pipeline.errors import SourceNotReadable, TimeIsOver, ValueNotRepresentable
from pipeline.kafka.changes import RECORDS, Changes
from pipeline.kafka.connection import Brokers
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.payload import FormatName, Payload
from pipeline.kafka.table import KafkaTable
from pipeline.kafka.topic import look_at
from pipeline.limits import Limits
from pipeline.source import Source
from tests.kafka.topics import new_topic, producer
from tests.support import ROOT, wait_until

START_MS = 1_763_600_000_000
KEY, VALUE = Column("K", SqlType("STRING"), "KEY"), Column("V", SqlType("BIGINT"))
Change = tuple[bytes | None, bytes | None]


@dataclass
class Topic:
    """A topic, and the table over it."""

    servers: str
    name: str
    held: bool = False
    key_format: FormatName = "KAFKA"
    timestamp: str = ""
    wrapped: bool = True

    def send(self, *changes: Change, partition: int = 0) -> None:
        client = producer(self.servers)
        for key, value in changes:
            client.produce(self.name, value, key, partition, timestamp=START_MS)
        assert client.flush(60) == 0

    @property
    def table(self) -> KafkaTable:
        key = Payload(self.key_format, ((KEY.name, KEY.type),), wrapped=False)
        value = Payload("JSON", ((VALUE.name, VALUE.type),), wrapped=self.wrapped)
        found = look_at(Brokers(self.servers), self.name)
        return KafkaTable(
            source=Source("T", "table", self.name, len(found.offsets), topic_id=found.id),
            declaration=Declaration((KEY, VALUE), key, value, (), self.timestamp, ""),
            brokers=Brokers(self.servers),
            registry=None,
            lag=None,
            holds_all=self.held,
        )

    def rows(self) -> dict[str, int | None]:
        return rows_of(self.table.read(Limits(stall_s=60), watched=False).batches)

    @property
    def refusal(self) -> str:
        with pytest.raises((ValueNotRepresentable, SourceNotReadable)) as refused:
            self.rows()
        return str(refused.value)


def rows_of(batches: Iterator[pa.RecordBatch]) -> dict[str, int | None]:
    pairs = [(row["k"], row["v"]) for batch in batches for row in batch.to_pylist()]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def v(number: int) -> bytes:
    return json.dumps({"V": number}).encode()


@pytest.fixture
def topic(kafka: str) -> Topic:
    return Topic(kafka, new_topic(kafka, 2))


def test_the_newest_change_of_a_key_counts_and_deletes_and_what_is_no_change_do_not(topic: Topic) -> None:
    topic.send((b"a", v(1)), (b"b", v(1)), (b"", v(3)), (None, v(9)), (b"a", v(2)), (b"b", None), (b"gone", None))
    topic.send((b"c", v(1)), (b"d", v(1)), (b"c", None), (b"c", v(5)), (b"e", b'{"V": null}'), partition=1)
    # What ksqlDB cannot read leaves a row as it was: there, or deleted.
    topic.send((b"b", b"{"), (b"never", b"{"))
    topic.send((b"d", b"{"), (b"d", b"{"), partition=1)

    read = topic.table.read(Limits(stall_s=60), watched=False)

    assert rows_of(read.batches) == {"a": 2, "": 3, "c": 5, "d": 1, "e": None}
    assert read.unreadable.pop("no key") == 1
    assert sum(read.unreadable.values()) == 4
    assert read.state is not None
    assert read.state.note == {topic.name: {"0": [9, 9], "1": [7, 7]}}


def test_a_row_of_before_an_unreadable_record_may_be_held_by_ksqldb_alone(topic: Topic) -> None:
    topic.send((b"a", v(1)), (b"a", b"{"), (b"b", b"{"))

    assert topic.rows() == {"a": 1}
    topic.held = True
    assert "the record at offset 2 of partition 0 cannot be read" in topic.refusal


def test_keys_that_are_one_for_ksqldb_are_one_however_they_are_written(topic: Topic) -> None:
    topic.key_format = "JSON"
    topic.send((b'"a"', v(1)), (b' "\\u0061" ', v(2)), (b'"b"', v(3)), (b' "b"', None))

    assert topic.rows() == {"a": 2}
    topic.send((b"null", v(1)))
    assert "offset 4 of partition 0 cannot be read (a key that is NULL)" in topic.refusal


def test_what_is_not_read_for_certain_is_refused_unless_a_later_change_makes_it_of_no_account(topic: Topic) -> None:
    topic.send((b"a", b'{"V": 1e400}'), (b"a", v(1)))
    assert topic.rows() == {"a": 1}

    topic.send((b"b", b'{"V": 1e400}'))
    assert "the record at offset 2 of partition 0 cannot be read" in topic.refusal
    topic.send((b"b", v(2)), (b"\xff", v(2)))
    assert "the record at offset 4 of partition 0 cannot be read (no UTF-8)" in topic.refusal


def test_a_bare_null_may_be_a_delete_or_none(topic: Topic) -> None:
    topic.wrapped = False
    topic.send((b"a", b"1"), (b"b", b"2"), (b"b", None))
    assert topic.rows() == {"a": 1}

    topic.send((b"a", b"null"))
    assert "offset 3 of partition 0" in topic.refusal


def test_records_without_a_time_are_no_changes_and_deletes_there_are_not_certain(topic: Topic) -> None:
    topic.timestamp = "V"
    topic.send((b"a", v(1)), (b"a", v(-1)), (b"a", b'{"V": null}'), (b"b", v(2)))
    assert topic.rows() == {"a": 1, "b": 2}

    topic.send((b"b", None))
    assert "offset 4 of partition 0 cannot be read (a delete" in topic.refusal


def test_a_key_in_two_partitions_is_refused_while_both_have_a_row(topic: Topic) -> None:
    topic.send((b"a", v(1)), (b"b", v(1)), (b"c", v(1)))
    topic.send((b"a", v(2)), (b"d", v(2)), (b"c", None), partition=1)
    assert "offset 0 of partition 0 and offset 0 of partition 1" in topic.refusal

    topic.send((b"a", None))
    assert topic.rows() == {"a": 2, "b": 1, "c": 1, "d": 2}


def test_a_topic_that_lost_records_is_not_the_whole_of_a_table_that_ksqldb_holds(topic: Topic) -> None:
    topic.send((b"a", v(1)), (b"b", v(1)))
    admin, place = AdminClient({"bootstrap.servers": topic.servers}), TopicPartition(topic.name, 0, 1)
    admin.delete_records([place])[TopicPartition(topic.name, 0)].result(60)

    assert topic.rows() == {"b": 1}
    topic.held = True
    assert "the first records of partition 0 are gone" in topic.refusal


def test_a_compacted_topic_has_the_same_rows(kafka: str) -> None:
    topic = Topic(kafka, new_topic(kafka, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01",
                                   max_compaction_lag_ms="200", delete_retention_ms="0"), held=True)  # fmt: skip
    topic.send(*((b"k%d" % (number % 7), v(number)) for number in range(70)), (b"k0", None))

    def is_compacted() -> bool:
        client = producer(kafka)
        client.produce(topic.name, v(0), b"rolls the segment", 0)  # now, which is long after the other records
        assert client.flush(60) == 0
        with Changes() as changes:
            topic.table._take(changes, _rows_reader(topic), look_at(Brokers(kafka), topic.name).offsets, Limits())
            return changes._count < 60

    wait_until(is_compacted, "a compacted topic")
    assert topic.rows() == {f"k{number}": 63 + number for number in range(1, 7)} | {"rolls the segment": 0}


def _rows_reader(topic: Topic) -> Any:
    from pipeline.kafka.table_rows import TableRows

    return TableRows(topic.table.declaration, None)


def test_a_snapshot_is_read_again_at_its_offsets_and_not_without_time(topic: Topic) -> None:
    topic.send((b"a", v(1)), (b"b", v(1)))
    note = topic.table.state().note
    topic.send((b"a", v(2)), (b"c", v(1)))
    assert note is not None

    back_then = topic.table.read_at(note, Limits(stall_s=60))

    assert back_then is not None
    assert rows_of(back_then.batches) == {"a": 1, "b": 1}
    assert topic.table.read_at({"another": {"0": [1, 1]}}, Limits()) is None
    assert topic.table.read_at({topic.name: {"0": [9, 9]}}, Limits()) is None
    with pytest.raises(TimeIsOver):
        list(topic.table.read(Limits(deadline=0), watched=False).batches)


@pytest.mark.long
def test_changes_beyond_memory_wait_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    count, rows = 400_000, 300_000

    with Changes("32MB") as changes:
        for start in range(0, count, 20_000):
            numbers = range(start, start + 20_000)
            keys = pa.array([b"a key that is not short at all, %032d" % (n % rows) for n in numbers])
            values = pa.array([None if n % 10 == 0 else b"%d" % n for n in numbers], pa.binary())
            offsets, parts = pa.array(numbers, pa.int64()), pa.array([0] * 20_000, pa.int32())
            changes.add(keys, pa.RecordBatch.from_arrays([parts, offsets, keys, values], schema=RECORDS))
        changes.find_newest()
        beside = [path for path in tmp_path.glob("*/*") if path.name not in ("batches", "in-use")]
        found = [value for batch in changes.newest() for value in batch.records.column("value").to_pylist()]

    assert beside, "everything fitted into memory"
    assert sorted(map(int, found)) == [n for n in range(count - rows, count) if n % 10]


def test_a_killed_fold_leaves_nothing_that_counts(kafka: str, tmp_path: Path) -> None:
    topic = Topic(kafka, new_topic(kafka))
    topic.send(*((b"k%d" % number, v(number)) for number in range(1000)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "import signal\nfrom tests.kafka.test_tables import Topic\nfrom pipeline.kafka.changes import Changes\n"
        "Changes.find_newest = lambda _: (print('all are there', flush=True), signal.pause())\n"
        f"Topic({kafka!r}, {topic.name!r}).rows()\n"
    )
    env = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"all are there\n"
        process.send_signal(signal.SIGKILL)
    left = list(temporary.iterdir())

    ran = subprocess.run(
        [sys.executable, "-c", f"from tests.kafka.test_tables import Topic\n"
         f"print(len(Topic({kafka!r}, {topic.name!r}).rows()))"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert len(left) == 1
    assert ran.stdout == "1000\n"
    assert list(temporary.iterdir()) == []
