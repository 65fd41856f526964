"""A table's rows at one moment: read in the way that is whole, and believed only when reads agree."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.dataset import Column as EmulatedColumn
from ksqldb_emulator.dataset import Dataset, Query, Record
from ksqldb_emulator.dataset import Source as EmulatedSource
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import running
from pipeline.errors import PipelineError, TryLater
from pipeline.ksqldb.catalog import SourceNotReadable, describe
from pipeline.ksqldb.client import Client, Connection, TimeIsOver
from pipeline.ksqldb.framing import QueryFailed
from pipeline.ksqldb.push import Limits
from pipeline.ksqldb.snapshot import SnapshotDoubled, SnapshotShrank, SnapshotUnsettled, TableRead, read_table, settle
from tests.ksqldb.replay import ReplayServer, Scripted, replaying
from tests.vectors import exchanges, needs_vectors


class Stored:
    """A read that was put somewhere."""

    def __init__(self, row_count: int) -> None:
        self.row_count, self.kept = row_count, True

    def discard(self) -> None:
        assert self.kept, "discarded twice"
        self.kept = False


class Reads:
    """Reads that find these numbers of rows one after the other; -1 is one that fails."""

    def __init__(self, *row_counts: int) -> None:
        self._due, self.stored = list(row_counts), list[Stored]()

    def __call__(self) -> Stored:
        row_count = self._due.pop(0)
        if row_count < 0:
            raise QueryFailed("the read failed")
        self.stored.append(Stored(row_count))
        return self.stored[-1]

    @property
    def kept(self) -> list[int]:
        return [stored.row_count for stored in self.stored if stored.kept]


def settled(reads: Reads, previous: int | None, max_shrink: float = 0.2) -> tuple[int, list[float]]:
    """The rows of the snapshot that is believed, and the pauses before it."""
    pauses: list[float] = []
    return settle(reads, "T", previous, 5.0, max_shrink, pauses.append).row_count, pauses


@pytest.mark.parametrize(
    ("previous", "found", "believed"),
    [
        (None, [100, 100], 100),
        (None, [0, 0], 0),
        (None, [67, 100], 100),
        (None, [100, 67, 100], 100),
        (None, [100, 67, 66, 66], 66),
        (100, [100], 100),
        (100, [101], 101),
        (0, [0], 0),
        (100, [67, 100], 100),
        (100, [99, 99], 99),
        (100, [99, 90, 80, 80], 80),
        (100, [67, 120], 120),
        (100, [95, 94, 93, 92, 91, 91], 91),
    ],
)
def test_a_doubtful_snapshot_is_read_until_it_no_longer_shrinks(
    previous: int | None, found: list[int], believed: int
) -> None:
    reads = Reads(*found)

    assert settled(reads, previous) == (believed, [5.0] * (len(found) - 1))
    assert reads.kept == [believed]


@pytest.mark.parametrize("previous", [None, 1000])
def test_a_table_that_shrinks_at_every_read_is_not_believed(previous: int | None) -> None:
    reads = Reads(*range(900, 0, -50))

    with pytest.raises(SnapshotUnsettled, match="fewer rows at each of 6 reads, 650 at the last") as raised:
        settled(reads, previous)

    assert (reads.kept, len(reads.stored), raised.value.exit_code) == ([], 6, 75)


@pytest.mark.parametrize(
    ("previous", "now", "max_shrink", "believed"),
    [(100, 80, 0.2, True), (100, 79, 0.2, False), (100, 0, 1, True), (100, 0, 0.99, False), (100, 99, 0, False),
     (100, 100, 0, True), (1, 0, 0.2, False), (0, 0, 0, True)],
)  # fmt: skip
def test_a_table_may_lose_a_share_of_its_rows_and_no_more(
    previous: int, now: int, max_shrink: float, believed: bool
) -> None:
    reads = Reads(now, now)

    if believed:
        assert settled(reads, previous, max_shrink)[0] == now
    else:
        with pytest.raises(SnapshotShrank, match=f"has {now} rows, and had {previous}") as raised:
            settled(reads, previous, max_shrink)
        assert "--allow-shrink" in raised.value.hint
    assert reads.kept == ([now] if believed else [])


@given(
    st.none() | st.integers(0, 9), st.lists(st.integers(-1, 9), min_size=6, max_size=6), st.sampled_from([0, 0.2, 1])
)
def test_whatever_reads_find_only_the_believed_one_stays(
    previous: int | None, found: list[int], max_shrink: float
) -> None:
    reads = Reads(*found)

    try:
        believed, pauses = settled(reads, previous, max_shrink)
    except PipelineError:
        assert reads.kept == []
        return

    assert reads.kept == [believed]
    assert believed == reads.stored[-1].row_count
    if previous is None or believed < previous:
        assert len(pauses) >= 1
        assert reads.stored[-2].row_count <= believed
    if previous is not None:
        assert believed >= previous * (1 - max_shrink)


def all_rows(read: TableRead) -> list[dict[str, Any]]:
    return [row for batch in read.batches for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with replaying() as script:
        yield script


@needs_vectors
def test_a_session_windowed_table_is_refused_before_it_is_asked(server: ReplayServer) -> None:
    server.say_recorded("DESCRIBE SESSION_TABLE")
    with Client(Connection(server.url)) as client:
        source = describe(client, "SESSION_TABLE")
        server.asked.clear()

        with pytest.raises(SourceNotReadable, match="SESSION_TABLE has session windows"):
            read_table(client, source, Limits())

    assert server.asked == []


@needs_vectors
@pytest.mark.parametrize("name", ["PRODUCT_PURCHASE_COUNTS", "FILTERED_TABLE", "TUMBLING_TABLE"])
def test_a_table_that_a_query_writes_is_pulled(server: ReplayServer, name: str) -> None:
    server.say_recorded(f"DESCRIBE {name}", f"pull {name}, json")
    recorded = json.loads(exchanges()[f"pull {name}, json"]["response"]["body"], parse_float=Decimal)

    with Client(Connection(server.url)) as client:
        rows = all_rows(read_table(client, describe(client, name), Limits()))

    assert [list(row.values()) for row in rows] == recorded[1:]
    assert [column.lower() for column in recorded[0]["columnNames"]] == list(rows[0])
    assert server.asked[-1].body["sql"].endswith(f"FROM `{name}`;")
    assert server.asked[-1].headers["Accept"] == "application/json"


def test_a_table_that_nothing_writes_is_folded_by_key_without_its_deleted_rows() -> None:
    columns = (EmulatedColumn("ID", parse_type("STRING"), "KEY"), EmulatedColumn("V", parse_type("INTEGER")))
    before = [Record(0, 0, 1, {"ID": "a", "V": 1}), Record(1, 0, 1, {"ID": "b", "V": 2})]
    later = [
        Record(0, 1, 2, {"ID": "a", "V": 3}),
        Record(1, 1, 2, None, key={"ID": "b"}),
        Record(0, 2, 3, {"ID": "c", "V": None}),
        Record(0, 3, 4, None, key={"ID": "never there"}),
        Record(1, 2, 5, {"ID": "d", "V": 4}),
        Record(1, 3, 6, None, key={"ID": "d"}),
        Record(1, 4, 7, {"ID": "d", "V": 5}),
    ]
    changes = before + [dataclasses.replace(record, at_s=0.5) for record in later]
    table = EmulatedSource("T", "TABLE", columns, "t", 2, changes)

    with running(Dataset([table])) as server, Client(Connection(server.url)) as client:
        rows = all_rows(read_table(client, describe(client, "T"), Limits(quiet_s=1, stall_s=10)))

    assert sorted(rows, key=lambda row: str(row["id"])) == [
        {"id": "a", "v": 3},
        {"id": "c", "v": None},
        {"id": "d", "v": 5},
    ]


@pytest.mark.parametrize("type_", ["TIMESTAMP", "TIME"])
def test_a_deleted_row_whose_key_the_server_does_not_tell_is_refused(type_: str) -> None:
    columns = (EmulatedColumn("ID", parse_type(type_), "KEY"), EmulatedColumn("V", parse_type("INTEGER")))
    kept = [Record(0, n, 1, {"ID": n, "V": n}) for n in range(2)]
    deleted = Record(0, 2, 2, None, key={"ID": 0}, at_s=0.5)
    for records in (kept, [*kept, deleted]):
        table = EmulatedSource("T", "TABLE", columns, "t", 1, records)
        with running(Dataset([table])) as server, Client(Connection(server.url)) as client:
            read = read_table(client, describe(client, "T"), Limits(quiet_s=1, stall_s=10))
            if deleted in records:
                with pytest.raises(SourceNotReadable, match=f"its key column ID has the type {type_}"):
                    all_rows(read)
            else:
                assert sorted(row["v"] for row in all_rows(read)) == [0, 1]


def test_a_pull_ends_at_its_deadline_though_the_server_is_silent() -> None:
    with running(pulled_table(*range(2000))) as server, Client(Connection(server.url)) as client:
        server.faults.add(Fault("pull", idle_after=100, count=0))
        source = describe(client, "T")
        started = time.monotonic()
        read = read_table(client, source, Limits(deadline=started + 1))

        with pytest.raises(TimeIsOver, match="T was not read to its end"):
            all_rows(read)
        with pytest.raises(TimeIsOver):
            read_table(client, source, Limits(deadline=started + 1))
        assert time.monotonic() - started < 5


def pulled_table(*keys: int) -> Dataset:
    columns = (EmulatedColumn("ID", parse_type("BIGINT"), "KEY"), EmulatedColumn("V", parse_type("INTEGER")))
    query = Query("CTAS_T_1", "CREATE TABLE T AS ...", ("T",), ("t",), ("s",))
    records = [Record(0, place, 1, {"ID": key, "V": 1}) for place, key in enumerate(keys)]
    return Dataset([EmulatedSource("T", "TABLE", columns, "t", 1, records, write_query=query)])


@pytest.mark.parametrize("doubled", [1, 3])
def test_a_pull_that_holds_a_key_twice_is_refused_at_its_end(doubled: int) -> None:
    with running(pulled_table(*range(9))) as server, Client(Connection(server.url)) as client:
        server.faults.add(Fault("pull", replay_rows=doubled))

        with pytest.raises(SnapshotDoubled, match=f"{doubled} of its rows have a key that another row has too"):
            all_rows(read_table(client, describe(client, "T"), Limits()))


def test_keys_that_python_hashes_alike_are_different_keys() -> None:
    keys = (-1, -2, 2**61 - 1, 0)
    assert len(set(map(hash, keys))) == 2
    with running(pulled_table(*keys)) as server, Client(Connection(server.url)) as client:
        rows = all_rows(read_table(client, describe(client, "T"), Limits()))

    assert {row["id"] for row in rows} == set(keys)


@needs_vectors
def test_a_push_that_ended_before_the_tables_true_end_is_no_snapshot(server: ReplayServer) -> None:
    """`/close-query` and TERMINATE of others end a push with the same words as ours."""
    header = {"header": {"queryId": "transient_SOURCE_TABLE_1", "schema": "`ID` STRING, `V` INTEGER"}}
    elements = [header, {"row": {"columns": ["a", 5]}}, {"finalMessage": "Query Completed"}]
    body = ("[" + ",\n".join(map(json.dumps, elements)) + "]").encode()
    server.say_recorded("DESCRIBE SOURCE_TABLE", "DESCRIBE FILTERED_TABLE EXTENDED")
    server.answers.append(Scripted(200, [body]))

    with Client(Connection(server.url)) as client, pytest.raises(TryLater):
        all_rows(read_table(client, describe(client, "SOURCE_TABLE"), Limits()))
