"""Tables read from a server whose nodes die: what is believed, what is waited for, and how a table is read then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ksqldb_emulator import cluster
from ksqldb_emulator.cluster import BadMinute, Phase, Pull
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.errors import SnapshotNotBelieved, TimeIsOver
from pipeline.export.believed import read_believed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import find_source
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.limits import Limits, ReadPolicy
from pipeline.source import TableRead

NEVER = 1e9
DEAD = BadMinute(seen_s=0, returning_s=NEVER, moved_s=NEVER, restored_s=NEVER, slow_look_s=0)
KEYS = {f"k{n}" for n in range(60)}


class Kept:
    """A read that is kept in memory."""

    def __init__(self, read: TableRead, number: int) -> None:
        self.rows = [row for batch in read.batches for row in batch.to_pylist()]
        self.number = number

    @property
    def row_count(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> set[str]:
        return {row["k"] for row in self.rows}

    def discard(self) -> None:
        self.rows = []


@pytest.fixture
def server() -> Iterator[Emulator]:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("N", parse_type("INTEGER")))
    records = [Record(n % 3, n // 3, n, {"K": f"k{n}", "N": n}) for n in range(60)]
    query = Query("CTAS_T_1", "CREATE ...", ("T",), ("t",), ("events",), "Aggregate-GroupBy-repartition")
    stream = Source("EVENTS", "STREAM", columns, "events", 3, records, read_queries=(query,))
    with running(Dataset([stream, Source("T", "TABLE", columns, "t", 3, list(records), write_query=query)])) as server:
        server.cluster.start_nodes(2)
        yield server


def believed(server: Emulator, wait_s: float = 60, recheck_s: float = 0.05, **settings: Any) -> Kept:
    limits = settings.pop("limits", Limits(quiet_s=0.5, stall_s=60))
    policy = ReadPolicy(recheck_s, wait_s, 0.2, sleep=settings.pop("sleep", time.sleep))
    previous_rows = settings.pop("previous_rows", None)
    with Client(Connection(server.url, **{"timeout_s": 20, "retry_s": 2} | settings)) as client:
        table = KsqldbTable(client, find_source(client, "T"))
        return read_believed(table, table.state(), limits, policy, previous_rows, Kept)


def asked(server: Emulator, text: str) -> int:
    return sum(text in request["body"] for request in server.requests)


def test_a_healthy_table_costs_two_pulls(server: Emulator) -> None:
    kept = believed(server)

    assert (kept.keys, kept.number) == (KEYS, 2)
    assert (asked(server, "FROM `T`"), asked(server, "DESCRIBE")) == (2, 2)


@pytest.mark.parametrize("fate", [Pull.SHORT, Pull.EMPTY, Pull.FAILING])
def test_what_a_dying_node_leaves_of_a_pull_is_never_believed(
    server: Emulator, fate: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node dies in the pull: looks come after it only."""
    monkeypatch.setitem(cluster._FATES, Phase.WHOLE, [fate])

    def dies(read: TableRead, number: int) -> Kept:
        kept = Kept(read, number)
        server.cluster.kill_node(DEAD)
        return kept

    with Client(Connection(server.url, retry_s=1)) as client:
        table = KsqldbTable(client, find_source(client, "T"))
        state = table.state()
        if fate is Pull.FAILING:
            server.cluster.kill_node(DEAD, in_s=0.2)
        with pytest.raises(SnapshotNotBelieved, match=r"127\.0\.0\.1:8089 is UNRESPONSIVE") as raised:
            read_believed(table, state, Limits(), ReadPolicy(0.3, 1, 0.2), None, dies)

    assert raised.value.exit_code == 75


def test_a_table_is_read_whole_once_its_tasks_have_moved(server: Emulator) -> None:
    server.cluster.kill_node(BadMinute(seen_s=0, scale=0.02), at_look=True)

    assert believed(server).keys == KEYS
    assert server.cluster.looks[Phase.DEAD] > 0


@pytest.mark.parametrize("fate", [Pull.HANGING, Pull.SILENT])
def test_a_pull_that_hangs_is_left_and_tried_again(server: Emulator, fate: Pull) -> None:
    """Within the time of an admin request: STALL_S is for streams, which may be silent for a reason."""
    hung = server.faults.add(Fault("pull", idle_after=30 if fate is Pull.HANGING else None))
    if fate is Pull.SILENT:
        hung.first_byte_s = 600
    started = time.monotonic()

    assert believed(server, timeout_s=2, stall_s=600).keys == KEYS
    assert time.monotonic() - started < 300
    assert hung.used == 1


def test_the_run_time_ends_the_waiting_for_a_dying_cluster(server: Emulator) -> None:
    server.cluster.kill_node(DEAD)
    limits, pauses = Limits(deadline=time.monotonic() + 1), list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(min(seconds, 5))

    with pytest.raises(TimeIsOver):
        believed(server, wait_s=6000, recheck_s=60, limits=limits, sleep=sleep)

    assert max(pauses, default=0) <= 1


def test_a_table_whose_query_the_server_does_not_list_is_folded_from_its_topic(server: Emulator) -> None:
    """As CREATE SOURCE TABLE on servers that list none for it: no look could vouch for a pull."""
    statement = "CREATE SOURCE TABLE T (K STRING PRIMARY KEY, N INTEGER) WITH (...);"
    server.replace_source(replace(server.source("T"), write_query=None, statement=statement))

    kept = believed(server)

    assert kept.keys == KEYS
    assert asked(server, "FROM `T` EMIT CHANGES;") == asked(server, "FROM `T`") == 2


@pytest.mark.parametrize(("elsewhere", "reads"), [(False, 1), (True, 2)])
def test_a_folded_table_that_had_to_be_left_is_read_again(server: Emulator, elsewhere: bool, reads: int) -> None:
    """Another node holds its query, so its end is not known: rows may still have been on their way."""
    server.replace_source(replace(server.source("T"), write_query=None))
    if elsewhere:
        server.faults.add(Fault("push", elsewhere=True, count=0))

    kept = believed(server, previous_rows=60)

    assert (kept.keys, kept.number) == (KEYS, reads)


def test_a_folded_table_is_whole_while_another_node_is_dead(server: Emulator) -> None:
    """A push runs on the node that was asked, and reads the table's own topic."""
    server.replace_source(replace(server.source("T"), write_query=None))
    server.cluster.kill_node(DEAD)

    assert believed(server).keys == KEYS
