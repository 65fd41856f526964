"""The emulator, loaded with the recorded objects, answers as the real server did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ksqldb_emulator.testing import PATIENCE_S, Emulator, running
from tests.examples import some
from tests.own_recording import answers
from tests.recorded_dataset import recorded_dataset
from tests.vectors import exchanges, needs_vectors, own_exchanges

# What is left out, and why: a pattern of exchange names each. Every other recorded exchange is answered and compared.
LEFT_OUT = {
    r"GET /(clusterStatus|v1/metadata.*|is_valid_property/.*|status)|LIST TOPICS.*|SHOW (QUERIES|PROPERTIES)": (
        "endpoints and statements that the pipeline never uses"
    ),
    r".*Accept (None|\*/\*)": "an answer without an explicit Accept; the pipeline always sends one",
    r".*delimited.*|/query .*|error: (Accept text/html)": "framings and endpoints that the pipeline never uses",
    r"SHOW QUERIES EXTENDED while .*": "topologies and plans of the run; the progress in it has tests of its own",
    r"error: (bad JSON|missing sql|empty body)": "texts of the server's JSON library",
    r"error: (create existing|terminate unknown query)": "statements that change the server",
    r"stream pull, NaN and infinities": "SQRT and LN; the encoding of NaN is compared with the encoding vectors",
    r"push .* while it runs.*": "changes made from outside while it ran; tested with records added to the emulator",
    r"pull (SESSION|TUMBLING)_TABLE by key.*": "window tables keep no ROWTIME in the recorded answers",
    r"pull USER_TRANSACTION_SUMMARY with ROWTIME.*|(stream pull|pull PAYMENT_METHOD_TOTALS|push) LIMIT .": (
        "which rows come first is not part of the contract"
    ),
    r".* / close": "closing is part of each compared push",
    r"basic auth: .*|starting.*|a node of two dies.*": "other states of the server; they have tests of their own",
    r"push table (FILTERED_TABLE|PAYMENT_METHOD_TOTALS|ALL_TYPES_TABLE)": "their changelogs were not recorded",
    r"push table SOURCE_TABLE, json": "recorded after SOURCE_TABLE was changed",
    r"error: (close unknown query|GET /query-stream)|GET /(nope|)": "compared without headers below",
}
_SPOKEN = re.compile("|".join(f"(?:{pattern})" for pattern in LEFT_OUT))


def test_own_recorded_request_gets_the_recorded_answer() -> None:
    """Where the real server's answers are not: ours, taken when those were given as well."""
    given = {entry["name"]: entry for entry in answers()}

    assert list(given) == list(own_exchanges())
    for name, recorded in own_exchanges().items():
        assert given[name]["request"] == recorded["request"], name
        assert given[name]["response"]["status"] == recorded["response"]["status"], name
        assert _comparable(given[name]["response"]["body"]) == _comparable(recorded["response"]["body"]), name


def _compared() -> list[str]:
    return [name for name in exchanges() if not _SPOKEN.fullmatch(name)]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(recorded_dataset()) as server:
        yield server


@needs_vectors
def test_most_recorded_exchanges_are_compared() -> None:
    assert len(_compared()) >= 90


@needs_vectors
@pytest.mark.parametrize("name", some(_compared()))
def test_recorded_request_gets_the_recorded_answer(emulator: Emulator, name: str) -> None:
    recorded = exchanges()[name]

    status, body = _ask(emulator, recorded["request"])

    assert status == recorded["response"]["status"]
    assert _comparable(body) == _comparable(recorded["response"]["body"])


@needs_vectors
def test_every_left_out_pattern_leaves_something_out() -> None:
    for pattern in LEFT_OUT:
        assert any(re.fullmatch(pattern, name) for name in exchanges()), pattern


def _ask(emulator: Emulator, request: dict[str, Any]) -> tuple[int, str]:
    sent = request["body"]
    data = None if sent is None else sent if isinstance(sent, str) else json.dumps(sent)
    with requests.request(
        request["method"],
        emulator.url + request["path"],
        data=data and data.encode(),
        headers=request["headers"],
        stream=True,
        timeout=PATIENCE_S,
        allow_redirects=False,
    ) as response:
        body = bytearray()
        push = "EMIT CHANGES" in (data or "") and "LIMIT" not in (data or "") and response.status_code == 200
        for piece in response.iter_content(None):
            body += piece
            if push:
                push = False
                _close_when_caught_up(emulator)
        return response.status_code, body.decode()


def _close_when_caught_up(emulator: Emulator) -> None:
    """Closes the one live push once everything it will send was sent: positions stand at their ends."""
    while True:
        body = {"ksql": "SHOW QUERIES EXTENDED;"}
        answer = requests.post(emulator.url + "/ksql", json=body, timeout=PATIENCE_S).json()
        live = [query for query in answer[0]["queryDescriptions"] if query["queryType"] == "PUSH"]
        tasks = [offset for task in live[0]["tasksMetadata"] for offset in task["topicOffsets"]]
        if all(entry["committedOffset"] > entry["endOffset"] for entry in tasks if entry["endOffset"] >= 0):
            break
    requests.post(emulator.url + "/close-query", json={"queryId": live[0]["id"]}, timeout=PATIENCE_S)


def _comparable(body: str) -> Any:
    """A body without ids, statistics of the run and internal topics, rows in one order."""
    body = re.sub(r'"(transient_[A-Za-z_-]+_|query_)\d+"', r'"\1ID"', body)
    if body.startswith("[{") and '"@type"' not in body[:20]:
        return _comparable_rows(body)
    return _without_run(json.loads(body)) if body.startswith(("[", "{")) else body


def _comparable_rows(body: str) -> tuple[str, list[str], str]:
    if body.startswith('[{"header"'):
        lines = body.split("\n")
        rows = [line.removesuffix("]") if line.endswith("}}]") else line for line in lines[1:]]
        final = [line for line in rows if line.startswith('{"final')]
        return lines[0].rstrip(",]"), sorted(r.rstrip(",") for r in rows if not r.startswith('{"final')), "".join(final)
    head, _, _ = body.partition("]}")
    values = json.loads(body, parse_float=_Token, parse_int=_Token)
    return head, sorted(json.dumps(row, ensure_ascii=False, default=str) for row in values[1:]), body[-1]


class _Token(str):
    """A number as it was written."""


def _without_run(data: Any) -> Any:
    if isinstance(data, list):
        kept = [_without_run(item) for item in data if not _is_internal(item)]
        return sorted(kept, key=lambda item: item.get("name", "")) if _are_named(kept) else kept
    if isinstance(data, dict):
        run = ("statistics", "clusterStatistics", "errorStats", "clusterErrorStats")
        kept = {key: _without_run(value) for key, value in data.items() if key not in run}
        return kept | {"sourceConstraints": sorted(kept.get("sourceConstraints", ()))}
    return data


def _are_named(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and {"name", "topic"} <= set(item) for item in items)


def _is_internal(item: Any) -> bool:
    """Topics inside a query, and the two objects that were made after the lists were recorded."""
    if not isinstance(item, dict):
        return False
    return "repartition" in str(item.get("kafkaTopic", "")) or (item.get("name") in ("DEEP", "TT") and "topic" in item)
