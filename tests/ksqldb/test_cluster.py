"""Whether the query that writes a table runs whole: as a dying cluster was recorded, and as the emulator shows it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import ClusterNotWhole, TableQueryPaused
from pipeline.export.believed import read_watched
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.cluster import look_at_query
from pipeline.ksqldb.describe import Description, TableOffsets
from pipeline.ksqldb.framing import AnswerMalformed
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.limits import Limits
from pipeline.source import Look, Offsets, TableRead, TableState
from tests.ksqldb.replay import ReplayServer, Scripted
from tests.vectors import load_lines, needs_vectors

TABLE = Description("T", "table", "t", 2, (), None, True, ())
NOTHING: TableOffsets = {}
READ: TableOffsets = {topic: dict.fromkeys(range(2), Offsets(0, 5, 5)) for topic in ("s", "between")}


class OnlyLooked(KsqldbTable):
    """A table without rows, whose looks are the server's. `reads` says of each read whether it was watched."""

    def __init__(self, client: Client, source: Description) -> None:
        super().__init__(client, source)
        self.reads = list[bool]()

    def read(self, _: Limits, watched: bool) -> TableRead:
        self.reads.append(watched)
        return TableRead((), iter(()))


def own_query(*tasks: str, **changes: Any) -> dict[str, Any]:
    """The query that writes T, as SHOW QUERIES EXTENDED lists it."""
    tasks = tasks or ("0_0", "0_1", "1_0", "1_1")
    hosts = {"a:8088": "RUNNING", "b:8088": "RUNNING"}
    listed = [
        {
            "taskId": task,
            "topicOffsets": [
                {"topicPartitionEntity": {"topic": "between" if task[-3] == "1" else "s", "partition": int(task[-1])}}
            ],
        }
        for task in tasks
    ]
    query = {"id": "CTAS_T_1", "queryType": "PERSISTENT", "sinks": ["T"], "sources": ["S"], "state": "RUNNING"}
    return query | {"ksqlHostQueryStatus": hosts, "tasksMetadata": listed} | changes


def say(server: ReplayServer, *lists: list[dict[str, Any]]) -> None:
    other = own_query(id="CTAS_U_2", sinks=["U"], ksqlHostQueryStatus={"b:8088": "ERROR"}, tasksMetadata=[])
    bodies = ([{"@type": "query_descriptions", "queryDescriptions": [other, *queries]}] for queries in lists)
    server.say(*(Scripted(200, [json.dumps(body).encode()]) for body in bodies))


def looked(server: ReplayServer, client: Client, *queries: dict[str, Any], offsets: TableOffsets = NOTHING) -> Look:
    say(server, list(queries))
    look = look_at_query(client, TABLE, offsets)
    assert look is not None
    return look()


def test_a_query_that_runs_on_all_hosts_with_all_tasks_is_whole(server: ReplayServer, client: Client) -> None:
    assert looked(server, client, own_query(), offsets=READ).trouble == ""
    assert looked(server, client, own_query("0_0"), offsets={"s": {0: Offsets(0, 1, 1)}}).trouble == ""
    shared_runtime = own_query("CTAS_T_1__0_0", "CTAS_T_1__1_0", "CTAS_T_1__0_1", "CTAS_T_1__1_1")
    assert looked(server, client, shared_runtime, offsets=READ).trouble == ""
    without_topics = own_query(tasksMetadata=[{"taskId": task} for task in ("0_0", "0_1")])
    assert looked(server, client, without_topics, offsets=READ).trouble == ""
    unasked_order = own_query("1_1", "0_0", "1_0", "0_1")
    assert looked(server, client, unasked_order) == looked(server, client, own_query())


@pytest.mark.parametrize(
    ("query", "trouble"),
    [
        (own_query(ksqlHostQueryStatus={"a:1": "RUNNING", "b:2": "UNRESPONSIVE"}), "b:2 is UNRESPONSIVE"),
        (own_query(ksqlHostQueryStatus={"a:1": "ERROR"}), "a:1 is ERROR"),
        (own_query(ksqlHostQueryStatus={"a:1": "PAUSED", "b:2": "RUNNING"}), "a:1 is PAUSED"),
        (own_query(ksqlHostQueryStatus={}), "does not run on every host: none"),
        (own_query(ksqlHostQueryStatus={"\x1b[2Jb": "\x07DEAD"}), "?[2Jb is ?DEAD"),
        (own_query(tasksMetadata=[]), "tasks are missing: 0_0"),
        (own_query("0_0", "0_1", "1_1"), "tasks are missing: 1_0"),
        (own_query("1_0", "1_1"), "tasks are missing: 0_0"),
        (own_query("0_0", "0_2", "1_1"), "tasks are missing: 0_1, 1_0"),
        (own_query("0_0", "1_0", "1_1"), "nothing of the query that writes it reads partition 1 of the topic s"),
        (own_query("0_0", "0_1"), "nothing of the query that writes it reads partition 0 of the topic between"),
    ],
)
def test_what_is_not_whole_is_named(server: ReplayServer, client: Client, query: dict[str, Any], trouble: str) -> None:
    found = looked(server, client, query, offsets=READ)

    assert trouble in found.trouble
    assert found != looked(server, client, own_query(), offsets=READ)


def test_a_task_that_was_there_at_a_clean_look_has_to_stay(server: ReplayServer, client: Client) -> None:
    """Where the server does not report what the query reads, the tasks themselves are remembered."""
    say(server, [own_query()], [own_query()], [own_query("0_0", "1_0")], [])
    look = look_at_query(client, TABLE, NOTHING)

    assert look is not None
    assert look().trouble == ""
    assert "tasks are missing: 0_1, 1_1" in look().trouble
    assert look().trouble == "the server no longer lists the query that writes it"


def test_only_clean_looks_are_remembered(server: ReplayServer, client: Client) -> None:
    failing = own_query("0_0", "0_1", "0_2", ksqlHostQueryStatus={"a:1": "ERROR"})
    say(server, [own_query()], [failing], [own_query("0_0", "0_1")])
    look = look_at_query(client, TABLE, NOTHING)

    assert look is not None
    assert "a:1 is ERROR" in look().trouble
    assert look().trouble == ""


def test_looks_differ_when_hosts_or_the_query_have_changed(server: ReplayServer, client: Client) -> None:
    whole = looked(server, client, own_query())
    alone = looked(server, client, own_query(ksqlHostQueryStatus={"a:8088": "RUNNING"}))
    replaced = looked(server, client, own_query(id="CTAS_T_9"))

    assert alone.trouble == replaced.trouble == ""
    assert len({repr(look.state) for look in (whole, alone, replaced)}) == 3
    assert whole != alone
    assert whole != replaced


def test_a_paused_query_is_for_a_person(server: ReplayServer, client: Client) -> None:
    paused = own_query(ksqlHostQueryStatus={"a:8088": "PAUSED", "b:8088": "PAUSED"})

    with pytest.raises(TableQueryPaused, match="CTAS_T_1, which writes the table, is paused") as raised:
        looked(server, client, paused)

    assert (raised.value.exit_code, "RESUME CTAS_T_1;" in raised.value.hint) == (1, True)


def test_the_query_of_a_source_table_has_no_sink(server: ReplayServer, client: Client) -> None:
    query = own_query("0_0", "0_1", id="CST_T_3", sinks=[], sources=["T"])

    assert looked(server, client, query).trouble == ""


@pytest.mark.parametrize(
    "queries",
    [
        [],
        [own_query(sinks=[], sources=["S", "T"])],
        [own_query(sinks=["COPY_OF_T"], sources=["T"])],
        [own_query(queryType="PUSH")],
    ],
)
def test_no_look_is_taken_where_the_server_lists_no_query(
    server: ReplayServer, client: Client, queries: list[dict[str, Any]]
) -> None:
    say(server, queries)

    assert look_at_query(client, TABLE, NOTHING) is None


DYING = own_query(ksqlHostQueryStatus={"a:8088": "RUNNING", "b:8088": "UNRESPONSIVE"})
ALONE = own_query(ksqlHostQueryStatus={"a:8088": "RUNNING"})


@pytest.mark.parametrize(
    ("before", "after", "trouble"),
    [
        (own_query(), own_query(), None),
        (DYING, own_query(), "b:8088 is UNRESPONSIVE"),
        (own_query(), DYING, "b:8088 is UNRESPONSIVE"),
        (own_query(), ALONE, "the cluster changed meanwhile"),
    ],
)
def test_one_read_is_whole_between_two_looks(
    server: ReplayServer, client: Client, before: dict[str, Any], after: dict[str, Any], trouble: str | None
) -> None:
    say(server, [own_query()], [before], [after])
    table = OnlyLooked(client, TABLE)

    if trouble is None:
        assert list(read_watched(table, TableState(NOTHING), Limits())) == []
    else:
        with pytest.raises(ClusterNotWhole, match=trouble) as raised:
            list(read_watched(table, TableState(NOTHING), Limits()))
        assert raised.value.exit_code == 75

    assert table.reads == ([] if before is DYING else [True])


def test_a_folded_table_needs_no_look(server: ReplayServer, client: Client) -> None:
    say(server, [])

    table = OnlyLooked(client, replace(TABLE, pullable=False))

    assert list(read_watched(table, TableState(NOTHING), Limits())) == []

    assert (server.asked, table.reads) == ([], [False])


@pytest.mark.parametrize("key", ["ksqlHostQueryStatus", "tasksMetadata", "taskId"])
def test_a_list_that_cannot_be_read_is_an_error(server: ReplayServer, client: Client, key: str) -> None:
    query = copy.deepcopy(own_query())
    place = query["tasksMetadata"][0] if key == "taskId" else query
    place[key] = "x\x1b" if key == "taskId" else None

    with pytest.raises(AnswerMalformed, match="the server's list of queries cannot be read") as raised:
        looked(server, client, query)

    assert "\x1b" not in raised.value.message


@needs_vectors
def test_every_look_while_a_node_died_shows_it_until_the_tasks_have_moved(server: ReplayServer, client: Client) -> None:
    recorded = load_lines("recorded/exchanges-node-death.jsonl")
    looks = [entry for entry in recorded if entry["name"].endswith("SHOW QUERIES EXTENDED")]
    table = Description("PAYMENT_METHOD_TOTALS", "table", "payment_method_totals", 3, (), None, True, ())
    bodies = [Scripted(200, [entry["response"]["body"].encode()]) for entry in looks]
    server.say(bodies[0], *bodies)
    look = look_at_query(client, table, NOTHING)
    assert look is not None

    found = [(entry.get("seconds_after_kill"), look()) for entry in looks]

    assert [at is not None and at < 54 for at, _ in found] == [bool(seen.trouble) for _, seen in found]
    assert len(found) == 10
    healthy, after = found[0][1], [seen for at, seen in found if at is not None and at >= 54]
    assert healthy not in after
    assert len(set(map(repr, after))) == 1


@needs_vectors
def test_without_memory_too_no_look_while_tasks_are_missing_is_clean(server: ReplayServer, client: Client) -> None:
    table = Description("PAYMENT_METHOD_TOTALS", "table", "payment_method_totals", 3, (), None, True, ())
    name, troubles = "a node of two died: SHOW QUERIES EXTENDED", list[str]()
    entries = [entry for entry in load_lines("recorded/exchanges-node-death.jsonl") if entry["name"] == name]
    for entry in (entry for entry in entries if entry["seconds_after_kill"] < 54):
        body = json.loads(entry["response"]["body"])
        for query in body[0]["queryDescriptions"]:
            query["ksqlHostQueryStatus"] = dict.fromkeys(query["ksqlHostQueryStatus"], "RUNNING")
        server.say(Scripted(200, [json.dumps(body).encode()]))
        look = look_at_query(client, table, NOTHING)
        assert look is not None
        troubles.append(look().trouble)

    assert len(troubles) > 1
    assert [trouble for trouble in troubles if "tasks are missing: " not in trouble] == []
