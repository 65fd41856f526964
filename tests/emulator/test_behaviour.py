"""The emulator while it runs: progress, faults, start-up, authentication, values byte for byte."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.faults import NO_FAULT, Fault, Faults
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.state import LiveQuery
from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S, Emulator, running
from tests.support import wait_until

PULL = "SELECT * FROM TOTALS;"
V1, PLAIN = "application/vnd.ksql.v1+json", "application/json"


def numbers(count: int, partitions: int = 2) -> Dataset:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("N", parse_type("INTEGER")))
    records = [Record(n % partitions, n // partitions, n, {"K": f"k{n}", "N": n}) for n in range(count)]
    stream = Source("NUMBERS", "STREAM", columns, "numbers", partitions + 1, records)  # the last partition is empty
    query = Query("CTAS_TOTALS_1", "CREATE TABLE ...", ("TOTALS",), ("totals",), ("numbers",))
    stream.read_queries = (query,)
    table = Source("TOTALS", "TABLE", columns, "totals", 1, list(records), write_query=query, lag=3)
    return Dataset([stream, table])


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running(numbers(20)) as server:
        yield server


def post(emulator: Emulator, path: str, body: Any, accept: str = PLAIN, **options: Any) -> requests.Response:
    return requests.post(emulator.url + path, json=body, headers={"Accept": accept}, timeout=PATIENCE_S, **options)


def pull(emulator: Emulator, sql: str = PULL, accept: str = PLAIN) -> requests.Response:
    return post(emulator, "/query-stream", {"sql": sql, "properties": {"auto.offset.reset": "earliest"}}, accept)


def push(emulator: Emulator, sql: str = "SELECT * FROM NUMBERS EMIT CHANGES;", **properties: str) -> requests.Response:
    properties = {"auto.offset.reset": "earliest", "ksql.streams.num.stream.threads": "1",
                  "ksql.streams.commit.interval.ms": "50"} | properties  # fmt: skip
    return post(emulator, "/query-stream", {"sql": sql, "properties": properties}, V1, stream=True)


def positions(emulator: Emulator) -> dict[int, tuple[int, int]]:
    (entity,) = post(emulator, "/ksql", {"ksql": "SHOW QUERIES EXTENDED;"}).json()
    live = [query for query in entity["queryDescriptions"] if query["queryType"] == "PUSH"]
    return {
        offset["topicPartitionEntity"]["partition"]: (offset["endOffset"], offset["committedOffset"])
        for query in live
        for task in query["tasksMetadata"]
        for offset in task["topicOffsets"]
    }


def close(emulator: Emulator) -> requests.Response:
    return post(emulator, "/close-query", {"queryId": emulator.open_queries[0]})


def lines_of(answer: requests.Response) -> Iterator[bytes]:
    """Lines as they come; the library's own way waits for full blocks."""
    rest = b""
    for piece in answer.iter_content(None):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def test_progress_is_what_was_fetched_and_committed_and_never_the_end(emulator: Emulator) -> None:
    with push(emulator) as answer:
        done = {0: (9, 10), 1: (9, 10), 2: (-1, -1)}
        wait_until(lambda: positions(emulator) == done, "everything processed")
        assert close(emulator).status_code == 200
        body = answer.text

    assert body.endswith('{"finalMessage":"Query Completed"}]')
    assert body.count('"row"') == 20
    assert emulator.open_queries == []
    gone = post(emulator, "/close-query", {"queryId": "transient_NUMBERS_1"})
    assert (gone.status_code, gone.json()["error_code"]) == (400, 40000)


def test_progress_in_the_middle_of_a_scan_looks_caught_up() -> None:
    with running(numbers(6000), poll_pause_s=FOR_EVER_S) as emulator, push(emulator):
        wait_until(lambda: emulator.sent_to("NUMBERS") == {0: 500, 1: 500}, "the first poll")
        assert positions(emulator) == {0: (499, 500), 1: (499, 500), 2: (-1, -1)}
        emulator.options.poll_pause_s = 0
        wait_until(lambda: positions(emulator)[0] == (2999, 3000), "the end")


def test_with_several_threads_tasks_vanish_for_a_while() -> None:
    source = numbers(20).source("NUMBERS")
    counts = {}
    for threads in (1, 4):
        query = LiveQuery("q", "", source, 1, threads, NO_FAULT, started=1000)
        counts[threads] = [len(query.shown_positions(1000 + age)) for age in (0, 1, 2, 3)]

    assert counts == {1: [3, 3, 3, 3], 4: [3, 0, 3, 3]}


def test_a_push_has_as_many_threads_as_it_asks_for(emulator: Emulator) -> None:
    with push(emulator, **{"ksql.streams.num.stream.threads": "4"}):
        wait_until(lambda: len(positions(emulator)) == 0, "tasks that vanish")
        wait_until(lambda: len(positions(emulator)) == 3, "tasks that come back")


def test_records_that_arrive_reach_a_running_push(emulator: Emulator) -> None:
    with push(emulator, "SELECT N FROM NUMBERS WHERE ROWPARTITION = 0 AND ROWOFFSET >= 9 EMIT CHANGES;") as answer:
        emulator.append("NUMBERS", [Record(0, 10, 99, {"K": "late", "N": 1000})])
        lines = lines_of(answer)
        assert [next(lines) for _ in range(3)][1:] == [b'{"row":{"columns":[18]}},', b'{"row":{"columns":[1000]}},']


def test_a_dropped_connection_ends_the_query(emulator: Emulator) -> None:
    push(emulator).close()

    wait_until(lambda: not emulator.open_queries, "the end of the query")


def test_a_query_whose_client_is_gone_stays_for_as_long_as_it_lingers(emulator: Emulator) -> None:
    emulator.options.linger_s = FOR_EVER_S
    answer = push(emulator)
    wait_until(lambda: positions(emulator)[0][0] == 9, "all rows there are")
    answer.close()
    emulator.append("NUMBERS", [Record(0, 10, 99, {"K": "late", "N": 1000})])
    wait_until(lambda: positions(emulator)[0][0] == 10, "a row that nobody reads")

    assert len(emulator.open_queries) == 1
    emulator.options.linger_s = 0
    wait_until(lambda: not emulator.open_queries, "the end of the query")


def test_a_server_that_is_stopped_leaves_no_task_behind(caplog: pytest.LogCaptureFixture) -> None:
    """A task that is still pending when its loop is gone says so in the log, when it is collected."""
    with running(numbers(20), linger_s=FOR_EVER_S, poll_pause_s=FOR_EVER_S) as emulator:
        emulator.faults.add(Fault("pull", idle_after=1))
        answers = [push(emulator), push(emulator), post(emulator, "/query-stream", {"sql": PULL}, V1, stream=True)]
        answers[0].close()
        wait_until(lambda: bool(emulator.sent_to("NUMBERS")), "a push in its pause")
    for answer in answers:
        answer.close()
    gc.collect()

    assert caplog.text == ""


def test_deletes_are_sent_to_streamed_rows_only() -> None:
    columns = (Column("ID", parse_type("STRING"), "KEY"), Column("V", parse_type("INTEGER")))
    changes = [Record(0, 0, 5, {"ID": "a", "V": 1}), Record(0, 1, 6, {"ID": "b", "V": 2})]
    sql = "SELECT ROWTIME, ID, V FROM T EMIT CHANGES;"
    with running(Dataset([Source("T", "TABLE", columns, "t", 1, changes)])) as emulator, push(emulator, sql) as answer:
        lines = lines_of(answer)
        head = [next(lines) for _ in range(3)]
        emulator.append("T", [Record(0, 2, 7, None, key={"ID": "a"})])
        assert next(lines) == b'{"row":{"columns":[null,"a",null],"tombstone":true}},'
        assert head[1] == b'{"row":{"columns":[5,"a",1]}},'


def test_offsets_of_what_a_query_reads_tell_the_true_end(emulator: Emulator) -> None:
    (entity,) = post(emulator, "/ksql", {"ksql": "DESCRIBE TOTALS EXTENDED;"}).json()

    offsets = entity["sourceDescription"]["queryOffsetSummaries"][0]["topicSummaries"][0]["offsets"]
    assert offsets[0] == {"partition": 0, "logStartOffset": 0, "logEndOffset": 10, "consumerOffset": 7}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM TOTALS;",
        "SELECT * FROM TOTALS ORDER BY N;",
        "SELECT N + 1 FROM TOTALS;",
        "INSERT INTO X VALUES (1);",
    ],
)
def test_what_it_does_not_speak_is_refused_like_a_server_does(emulator: Emulator, sql: str) -> None:
    answer = pull(emulator, sql)

    assert (answer.status_code, answer.json()["error_code"]) == (400, 40001)


def test_starting_then_refusing_then_answering(emulator: Emulator) -> None:
    emulator.restart(starting_s=FOR_EVER_S, refuse_pulls_s=0)
    assert pull(emulator).status_code == 503
    emulator.restart(starting_s=0.3, refuse_pulls_s=FOR_EVER_S)
    wait_until(lambda: pull(emulator).status_code == 400, "a server that has started and refuses")
    emulator.restart(starting_s=0, refuse_pulls_s=0.3)
    wait_until(lambda: pull(emulator).status_code == 200, "a server that answers")


def test_basic_authentication_leaves_the_health_check_open(emulator: Emulator) -> None:
    emulator.options.user, emulator.options.password = "u", "p"

    assert requests.get(emulator.url + "/info", timeout=PATIENCE_S).status_code == 401
    assert requests.get(emulator.url + "/info", auth=("u", "p"), timeout=PATIENCE_S).status_code == 200
    wrong = requests.get(emulator.url + "/info", auth=("u", "x"), timeout=PATIENCE_S)
    assert wrong.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert requests.get(emulator.url + "/healthcheck", timeout=PATIENCE_S).json()["isHealthy"] is True


@pytest.mark.parametrize("accept", [V1, PLAIN])
@pytest.mark.parametrize("cut_at", [0, 1, 60, 200])
def test_a_cut_ends_the_answer_at_its_byte(emulator: Emulator, accept: str, cut_at: int) -> None:
    whole = pull(emulator, accept=accept).content
    emulator.faults.add(Fault("pull", cut_at=cut_at, clean=True))

    assert len(pull(emulator, accept=accept).content) == cut_at
    emulator.faults.add(Fault("pull", cut_at=cut_at))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        pull(emulator, accept=accept)
    emulator.faults.add(Fault("pull", cut_at=cut_at, reset=True))
    with pytest.raises(requests.exceptions.RequestException):
        pull(emulator, accept=accept)
    assert len(pull(emulator, accept=accept).content) == len(whole)


def test_other_faults_do_what_they_say(emulator: Emulator) -> None:
    whole = pull(emulator).text
    for fault, check in (
        (Fault("pull", error_after=3), lambda text: json.loads(text)[4]["error_code"] == 50000),
        (Fault("pull", keep_share=0.5), lambda text: len(json.loads(text)) == 11),
        (Fault("pull", no_bracket=True), lambda text: text == _without_id(whole)[:-1]),
        (Fault("pull", trailing_comma=True), lambda text: text.endswith("],\n]")),
        (Fault("pull", replay_rows=2), lambda text: len(json.loads(text)) == 23),
        (Fault("pull", unchunked=True), lambda text: text == _without_id(whole)),
        (Fault("pull", chunk_bytes=3), lambda text: text == _without_id(whole)),
        (Fault("pull", keep_alive=True), lambda text: "\n" in text and len(json.loads(text)) == 21),
    ):
        emulator.faults.add(fault)
        assert check(_without_id(pull(emulator).text)), fault
    emulator.faults.add(Fault("pull", status=429))
    assert pull(emulator).json()["error_code"] == 42900
    assert _without_id(pull(emulator).text) == _without_id(whole)


def _without_id(text: str) -> str:
    return text.replace(text[text.index("query_") : text.index('","columnNames')], "ID") if "query_" in text else text


def test_faults_come_from_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": "pull", "keep_share": 0.5, "count": 2}]', encoding="utf-8")
    faults = Faults()
    faults.load(path)

    assert [faults.take("pull").keep_share for _ in range(3)] == [0.5, 0.5, None]
    path.write_text('[{"kind": "pull", "keep": 0.5}]', encoding="utf-8")
    with pytest.raises(ValueError, match=r"no \['keep'\]"):
        faults.load(path)
