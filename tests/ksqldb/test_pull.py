"""A table's rows at one moment, read whole; tests/export/test_believed.py has when they are believed."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from ksqldb_emulator.dataset import Column as EmulatedColumn
from ksqldb_emulator.dataset import Dataset, Query, Record
from ksqldb_emulator.dataset import Source as EmulatedSource
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import FOR_EVER_S, Emulator, running
from pipeline.errors import SnapshotDoubled, SourceNotReadable, TimeIsOver, TryLater
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import describe
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.limits import Limits
from pipeline.source import TableRead
from tests.ksqldb.replay import ReplayServer, Scripted
from tests.support import wait_until
from tests.vectors import in_both, recorded


def all_rows(read: TableRead) -> list[dict[str, Any]]:
    return [row for batch in read.batches for row in batch.to_pylist()]


@pytest.mark.parametrize("own", in_both(["", "own: "]))
def test_a_session_windowed_table_is_refused_before_it_is_asked(server: ReplayServer, own: str) -> None:
    server.say_recorded(f"{own}DESCRIBE SESSION_TABLE")
    with Client(Connection(server.url)) as client:
        source = describe(client, "SESSION_TABLE")
        server.asked.clear()

        with pytest.raises(SourceNotReadable, match="SESSION_TABLE has session windows"):
            KsqldbTable(client, source).read(Limits(), watched=True)

    assert server.asked == []


@pytest.mark.parametrize(
    "name", in_both(["PRODUCT_PURCHASE_COUNTS", "FILTERED_TABLE", "TUMBLING_TABLE", "own: CLICK_COUNTS", "own: HOURLY"])
)
def test_a_table_that_a_query_writes_is_pulled(server: ReplayServer, name: str) -> None:
    own, name = name.startswith("own: ") * "own: ", name.removeprefix("own: ")
    server.say_recorded(f"{own}DESCRIBE {name}", f"{own}pull {name}, json")
    answer = json.loads(recorded(f"{own}pull {name}, json")["response"]["body"], parse_float=Decimal)

    with Client(Connection(server.url)) as client:
        rows = all_rows(KsqldbTable(client, describe(client, name)).read(Limits(), watched=True))

    assert [list(row.values()) for row in rows] == answer[1:]
    assert [column.lower() for column in answer[0]["columnNames"]] == list(rows[0])
    assert server.asked[-1].body["sql"].endswith(f"FROM `{name}`;")
    assert server.asked[-1].headers["Accept"] == "application/json"


def folded(server: Emulator, client: Client, later: list[Record]) -> TableRead:
    """A push over the table T; what comes `later` comes when it has sent all that was there before."""
    records = server.source("T").records
    read = KsqldbTable(client, describe(client, "T")).read(Limits(quiet_s=0.5), watched=True)
    for more in ([], later):  # the watch over the push begins when its rows are asked for
        server.append("T", more)
        ends = {record.partition: record.offset + 1 for record in records}
        wait_until(lambda: server.sent_to("T") == ends, "a push that has sent all rows")  # noqa: B023 # called at once
    return read


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
    table = EmulatedSource("T", "TABLE", columns, "t", 2, before)

    with running(Dataset([table])) as server, Client(Connection(server.url)) as client:
        rows = all_rows(folded(server, client, later))

    assert sorted(rows, key=lambda row: str(row["id"])) == [
        {"id": "a", "v": 3},
        {"id": "c", "v": None},
        {"id": "d", "v": 5},
    ]


@pytest.mark.parametrize("type_", ["TIMESTAMP", "TIME"])
def test_a_deleted_row_whose_key_the_server_does_not_tell_is_refused(type_: str) -> None:
    columns = (EmulatedColumn("ID", parse_type(type_), "KEY"), EmulatedColumn("V", parse_type("INTEGER")))
    kept = [Record(0, n, 1, {"ID": n, "V": n}) for n in range(2)]
    deleted = Record(0, 2, 2, None, key={"ID": 0})
    for later in ([], [deleted]):
        table = EmulatedSource("T", "TABLE", columns, "t", 1, list(kept))
        with running(Dataset([table])) as server, Client(Connection(server.url)) as client:
            read = folded(server, client, later)
            if later:
                with pytest.raises(SourceNotReadable, match=f"its key column ID has the type {type_}"):
                    all_rows(read)
            else:
                assert sorted(row["v"] for row in all_rows(read)) == [0, 1]


def test_a_pull_ends_at_its_deadline_though_the_server_is_silent() -> None:
    patient = {"timeout_s": FOR_EVER_S, "retry_s": FOR_EVER_S, "stall_s": FOR_EVER_S}
    with running(pulled_table(*range(2000))) as server, Client(Connection(server.url, **patient)) as client:
        server.faults.add(Fault("pull", idle_after=100, count=0))
        source = describe(client, "T")
        limits = Limits(stall_s=FOR_EVER_S, deadline=time.monotonic() + 1)

        for _ in range(2):  # while it is read, and when there is no time left to read it
            with pytest.raises(TimeIsOver, match="T was not read to its end"):
                all_rows(KsqldbTable(client, source).read(limits, watched=True))


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
            all_rows(KsqldbTable(client, describe(client, "T")).read(Limits(), watched=True))


def test_keys_that_python_hashes_alike_are_different_keys() -> None:
    keys = (-1, -2, 2**61 - 1, 0)
    assert len(set(map(hash, keys))) == 2
    with running(pulled_table(*keys)) as server, Client(Connection(server.url)) as client:
        rows = all_rows(KsqldbTable(client, describe(client, "T")).read(Limits(), watched=True))

    assert {row["id"] for row in rows} == set(keys)


def test_a_push_that_ended_before_the_tables_true_end_is_no_snapshot(server: ReplayServer) -> None:
    """`/close-query` and TERMINATE of others end a push with the same words as ours."""
    header = {"header": {"queryId": "transient_PRICES_1", "schema": "`ID` BIGINT, `PRICE` DECIMAL(9, 2)"}}
    elements = [header, {"row": {"columns": [1, 2.5]}}, {"finalMessage": "Query Completed"}]
    body = ("[" + ",\n".join(map(json.dumps, elements)) + "]").encode()
    server.say_recorded("own: DESCRIBE PRICES", "own: DESCRIBE READ_PRICES EXTENDED")
    server.answers.append(Scripted(200, [body]))

    with Client(Connection(server.url)) as client, pytest.raises(TryLater):
        all_rows(KsqldbTable(client, describe(client, "PRICES")).read(Limits(), watched=True))
