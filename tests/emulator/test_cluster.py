"""A node of the emulated cluster that dies: as recorded with two nodes of a real one, over a shorter time."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ksqldb_emulator.cluster import _FATES, BadMinute, Cluster, Phase, Pull
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import PATIENCE_S, Emulator, running
from tests.recorded_dataset import recorded_dataset
from tests.support import wait_until
from tests.vectors import load_lines, needs_vectors

NAME = "PAYMENT_METHOD_TOTALS"
NEVER = 1e6
UNSEEN = BadMinute(seen_s=NEVER, returning_s=NEVER, moved_s=NEVER, restored_s=NEVER)
DEAD = BadMinute(seen_s=0, returning_s=NEVER, moved_s=NEVER, restored_s=NEVER, slow_look_s=0)
RETURNING = BadMinute(seen_s=0, returning_s=0, moved_s=NEVER, restored_s=NEVER, slow_look_s=0)
RESTORING = BadMinute(seen_s=0, returning_s=0, moved_s=0, restored_s=NEVER)
OVER = BadMinute(seen_s=0, returning_s=0, moved_s=0, restored_s=0)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("N", parse_type("INTEGER")))
    records = [Record(n % 3, n // 3, n, {"K": f"k{n}", "N": n}) for n in range(60)]
    query = Query("CTAS_TOTALS_1", "CREATE ...", ("TOTALS",), ("totals",), ("events",), "Aggregate-GroupBy-repartition")
    stream = Source("EVENTS", "STREAM", columns, "events", 3, records, read_queries=(query,))
    table = Source("TOTALS", "TABLE", columns, "totals", 3, list(records), write_query=query)
    with running(Dataset([stream, table])) as server:
        server.cluster.start_nodes(2)
        yield server


def ask(emulator: Emulator, statement: str) -> Any:
    return requests.post(emulator.url + "/ksql", json={"ksql": statement}, timeout=PATIENCE_S).json()[0]


def query_of(body: Any, key: str, table: str) -> dict[str, Any]:
    (query,) = (query for query in body[key] if query["sinks"] == [table])
    assert isinstance(query, dict)
    return query


def tasks(emulator: Emulator, table: str = "TOTALS") -> list[str]:
    body = ask(emulator, "SHOW QUERIES EXTENDED;")
    return sorted(task["taskId"] for task in query_of(body, "queryDescriptions", table)["tasksMetadata"])


def hosts(emulator: Emulator, table: str = "TOTALS") -> dict[str, str]:
    status = query_of(ask(emulator, "SHOW QUERIES EXTENDED;"), "queryDescriptions", table)["ksqlHostQueryStatus"]
    assert isinstance(status, dict)
    return status


def pull(emulator: Emulator, timeout_s: float = 10) -> tuple[int, bool]:
    """The number of rows, and whether an error element ends them."""
    answer = requests.post(
        emulator.url + "/query-stream",
        json={"sql": "SELECT * FROM TOTALS;"},
        headers={"Accept": "application/json"},
        timeout=timeout_s,
    )
    assert answer.status_code == 200
    elements = answer.json()
    return sum(isinstance(row, list) for row in elements), "Exhausted standby hosts" in str(elements[-1])


ALL = ["0_0", "0_1", "0_2", "1_0", "1_1", "1_2"]


@pytest.mark.parametrize(
    ("minute", "statuses", "listed"),
    [
        (None, ["RUNNING", "RUNNING"], ALL),
        (UNSEEN, ["RUNNING", "RUNNING"], ALL),
        (DEAD, ["RUNNING", "UNRESPONSIVE"], ["0_0", "0_2", "1_1"]),
        (RETURNING, ["RUNNING", "UNRESPONSIVE"], ["0_0", "0_1", "0_2", "1_1"]),
        (RESTORING, ["RUNNING"], ALL),
        (OVER, ["RUNNING"], ALL),
    ],
)
def test_looks_show_a_dead_node_once_it_is_seen_and_until_its_tasks_have_moved(
    emulator: Emulator, minute: BadMinute | None, statuses: list[str], listed: list[str]
) -> None:
    if minute is not None:
        emulator.cluster.kill_node(minute)

    assert sorted(hosts(emulator).values()) == statuses
    assert tasks(emulator) == listed
    simple = query_of(ask(emulator, "SHOW QUERIES;"), "queries", "TOTALS")
    assert simple["statusCount"] == Counter(statuses)
    described = ask(emulator, "DESCRIBE TOTALS EXTENDED;")["sourceDescription"]
    assert described["writeQueries"][0]["statusCount"] == {"RUNNING": 1}
    assert len(described["queryOffsetSummaries"][0]["topicSummaries"]) == 2


@pytest.mark.parametrize("fate", [fate for fate in Pull if fate not in (Pull.HANGING, Pull.SILENT)])
def test_pulls_of_a_dying_cluster_are_well_formed(
    emulator: Emulator, fate: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_FATES, Phase.DEAD, [fate])
    emulator.cluster.kill_node(DEAD)

    rows, failed = pull(emulator)

    assert failed == (fate is Pull.FAILING)
    if fate in (Pull.SHORT, Pull.FAILING):
        assert 5 < rows < 55
    else:
        assert rows == (60 if fate is Pull.WHOLE else 0)


@pytest.mark.parametrize("fate", [Pull.HANGING, Pull.SILENT])
def test_a_pull_of_a_dying_cluster_may_never_end(
    emulator: Emulator, fate: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_FATES, Phase.DEAD, [fate])
    emulator.cluster.kill_node(DEAD)

    with pytest.raises((requests.Timeout, requests.ConnectionError)):
        pull(emulator, timeout_s=0.3)


def test_a_minute_goes_through_its_phases_in_order_and_at_its_scale() -> None:
    minute = BadMinute(scale=0.01)

    assert [minute.phase(at) for at in (0, 0.002, 0.004, 0.41, 0.43, 0.51, 0.525, 0.54)] == [
        Phase.UNSEEN, Phase.UNSEEN, Phase.DEAD, Phase.DEAD, Phase.RETURNING, Phase.RETURNING, Phase.RESTORING,
        Phase.WHOLE,
    ]  # fmt: skip


def test_a_death_may_lie_ahead_and_nodes_start_again() -> None:
    cluster = Cluster(random=random.Random(1))
    cluster.start_nodes(2)
    cluster.kill_node(OVER, in_s=0.05)
    assert len(cluster.statuses()) == 2
    wait_until(lambda: len(cluster.statuses()) < 2, "the death")
    cluster.start_nodes(2)
    assert len(cluster.statuses()) == 2


def test_a_death_may_come_under_a_pull() -> None:
    cluster = Cluster(random=random.Random(1))
    cluster.start_nodes(2)
    cluster.kill_node(UNSEEN, at_pull=2)

    assert (cluster.fate_of_pull(), cluster.phase) == (Pull.WHOLE, Phase.WHOLE)
    assert cluster.fate_of_pull() in (Pull.SHORT, Pull.FAILING)
    assert cluster.phase is Phase.UNSEEN


def test_a_death_may_come_with_a_look() -> None:
    cluster = Cluster(random=random.Random(1))
    cluster.start_nodes(2)
    cluster.kill_node(DEAD, at_look=True)

    assert cluster.phase is Phase.WHOLE
    cluster.look_takes_s()
    assert (cluster.phase, cluster.looks[Phase.DEAD]) == (Phase.DEAD, 1)


def test_a_look_may_take_long_while_the_dead_node_is_asked() -> None:
    cluster = Cluster(random=random.Random(1))
    cluster.start_nodes(2)
    assert {cluster.look_takes_s() for _ in range(50)} == {0}
    cluster.kill_node(BadMinute(seen_s=0, returning_s=NEVER, slow_look_s=3, scale=0.5))
    assert 0 < max(cluster.look_takes_s() for _ in range(50)) <= 1.5


def shape(value: Any, depth: int = 3) -> Any:
    """The names and types of a body, as deep as the server's own form goes."""
    if isinstance(value, dict) and depth:
        return {key: shape(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list) and depth:
        return sorted({json.dumps(shape(item, depth - 1)) for item in value})
    return type(value).__name__ if value is not None else "null"


def tasks_text(query: dict[str, Any]) -> str:
    """The tasks in one order, without the service's id."""
    tasks = sorted(query["tasksMetadata"], key=lambda task: str(task["taskId"]))
    return json.dumps(tasks).replace("ksql-h1_", "ksql-demo_")


RECORDED_AT: dict[str, tuple[float | None, BadMinute | None]] = {
    "healthy": (None, None),
    "dead": (0.9, DEAD),
    "returning": (42.5, RETURNING),
    "moved": (54.8, OVER),
}


@needs_vectors
@pytest.mark.parametrize("moment", list(RECORDED_AT))
def test_the_emulator_shows_the_query_of_a_table_as_it_was_recorded(moment: str) -> None:
    at, minute = RECORDED_AT[moment]
    recorded = {
        entry["name"].rpartition(": ")[2]: json.loads(entry["response"]["body"])
        for entry in load_lines("recorded/exchanges-node-death.jsonl")
        if "response" in entry and (at is None or abs(entry.get("seconds_after_kill", -9) - at) < 0.07)
        and (at is not None or entry["name"].startswith("healthy"))
    }  # fmt: skip
    with running(recorded_dataset()) as server:
        server.cluster.start_nodes(2)
        if minute is not None:
            server.cluster.kill_node(minute)
        simple = ask(server, "SHOW QUERIES;")
        extended = ask(server, "SHOW QUERIES EXTENDED;")

    theirs = query_of(recorded["SHOW QUERIES"][0], "queries", NAME)
    ours = query_of(simple, "queries", NAME)
    assert ours["statusCount"] == theirs["statusCount"]
    assert shape(ours) == shape(theirs)

    theirs = query_of(recorded["SHOW QUERIES EXTENDED"][0], "queryDescriptions", NAME)
    ours = query_of(extended, "queryDescriptions", NAME)
    assert tasks_text(ours) == tasks_text(theirs)
    assert sorted(ours["ksqlHostQueryStatus"].values()) == sorted(theirs["ksqlHostQueryStatus"].values())
    assert set(ours) == set(theirs)
    assert (ours["id"], ours["queryType"], ours["state"]) == (theirs["id"], theirs["queryType"], theirs["state"])
