"""Our own recording: a small data set with every type, what the emulator is asked about it, and what it answered.

`python -m tests.own_recording` writes the answers to `tests/data/exchanges.jsonl`. Do so only when the emulator has
been compared with the recorded answers of a real server: where those are not, this file stands for them.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import requests

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S, Emulator, comes_true, running
from tests.vectors import OWN

START_MS = 1_790_000_000_000
STREAMED, PLAIN = "application/vnd.ksql.v1+json", "application/json"
STREAMS = ("CLICKS", "EVERY_TYPE", "Mixed-Name", "NOTHING")
PULLED = ("CLICK_COUNTS", "LAST_OF_TYPE", "HOURLY")
_TYPES = {
    "B": "BOOLEAN", "I": "INTEGER", "L": "BIGINT", "D": "DOUBLE", "S": "STRING", "Y": "BYTES",
    "SHORT": "DECIMAL(9, 2)", "LONG": "DECIMAL(38, 10)", "AT": "TIMESTAMP", "ON_DAY": "DATE", "TM": "TIME",
    "LIST": "ARRAY<STRING>", "PLACES": "MAP<STRING, DOUBLE>",
    "NEST": "STRUCT<`N` INTEGER, `INNER` STRUCT<`WORDS` ARRAY<STRING>, `AT` TIMESTAMP>>",
}  # fmt: skip
_NULLS: dict[str, Any] = dict.fromkeys(_TYPES)
_VALUES: tuple[dict[str, Any], ...] = (
    {
        "B": True, "I": 2**31 - 1, "L": 2**63 - 1, "D": 1e10, "S": 'Zoë "quotes" \\ and\ta tab, €, 山, 😀',
        "Y": bytes([0, 1, 254, 255]), "SHORT": Decimal("10.10"), "LONG": Decimal(f"{'1234567890' * 2}.0123456789"),
        "AT": START_MS + 7, "ON_DAY": 20_000, "TM": 36_930_123, "LIST": ["a", None, ""],
        "PLACES": {"x": 0.1, "y": None},
        "NEST": {"N": 1, "INNER": {"WORDS": ["in", "side"], "AT": 1}},
    },
    {
        "B": False, "I": -(2**31), "L": -(2**63), "D": 5e-324, "S": "", "Y": b"", "SHORT": Decimal("-0.01"),
        "LONG": Decimal("-1E-10"), "AT": 0, "ON_DAY": -1, "TM": 0, "LIST": [], "PLACES": {},
        "NEST": {"N": None, "INNER": None},
    },
    {
        "B": None, "I": 0, "L": 0, "D": -0.0, "S": " leading and trailing ", "Y": bytes(80), "SHORT": Decimal("0.00"),
        "LONG": Decimal("0E-10"), "AT": 253_402_300_799_999, "ON_DAY": 0, "TM": 86_399_999, "LIST": None,
        "PLACES": None, "NEST": None,
    },
)  # fmt: skip


def own_dataset() -> Dataset:
    """New at each call: tests change it."""
    counts = Query("CTAS_CLICK_COUNTS_3", "CREATE TABLE CLICK_COUNTS AS SELECT ...;", ("CLICK_COUNTS",),
                   ("click_counts",), ("clicks",))  # fmt: skip
    last = Query("CTAS_LAST_OF_TYPE_5", "CREATE TABLE LAST_OF_TYPE AS SELECT ...;", ("LAST_OF_TYPE",),
                 ("last_of_type",), ("every_type",))  # fmt: skip
    hourly = Query("CTAS_HOURLY_7", "CREATE TABLE HOURLY AS SELECT ...;", ("HOURLY",), ("hourly",), ("clicks",))
    sessions = Query("CTAS_SESSIONS_9", "CREATE TABLE SESSION_TABLE AS ...;", ("SESSION_TABLE",), ("sessions",),
                     ("clicks",))  # fmt: skip
    read = Query("CTAS_READ_PRICES_11", "CREATE TABLE READ_PRICES AS ...;", ("READ_PRICES",), ("read_prices",),
                 ("prices",))  # fmt: skip
    clicks = [
        Record(n % 3, n // 3, START_MS + 60_000 * n, {"PAGE": f"page {n % 4}", "USER_ID": n % 5, "PRICE": n / 8})
        for n in range(40)
    ]
    clicks[7] = Record(1, 2, clicks[7].rowtime, None)  # a record that cannot be read
    types = [
        Record(n % 2, n // 2, START_MS + n, {"K": f"k{n}"} | values) for n, values in enumerate((*_VALUES, _NULLS))
    ]
    windows = [
        Record(0, n, START_MS, {"PAGE": f"page {n}", "N": n}, window=(START_MS, START_MS + 3_600_000)) for n in range(3)
    ]
    prices = [
        Record(0, 0, 1, {"ID": 1, "PRICE": Decimal("1.50")}), Record(1, 0, 2, {"ID": 2, "PRICE": None}),
        Record(0, 1, 3, {"ID": 1, "PRICE": Decimal("2.00")}), Record(1, 1, 4, None, key={"ID": 2}),
    ]  # fmt: skip
    page = {"PAGE": "STRING KEY"}
    return Dataset([
        Source("CLICKS", "STREAM", columns(page | {"USER_ID": "INTEGER", "PRICE": "DOUBLE"}), "clicks", 3, clicks,
               read_queries=(counts, hourly)),
        Source("EVERY_TYPE", "STREAM", columns({"K": "STRING KEY"} | _TYPES), "every_type", 2, types,
               read_queries=(last,)),
        Source("Mixed-Name", "STREAM", columns({"the key": "BIGINT KEY", "a-Value": "STRING"}), "mixed", 1,
               [Record(0, n, START_MS + n, {"the key": n, "a-Value": f"v{n}"}) for n in range(3)]),
        Source("NOTHING", "STREAM", columns({"V": "INTEGER"}), "nothing", 2),
        Source("CLICK_COUNTS", "TABLE", columns(page | {"N": "BIGINT"}), "click_counts", 3,
               [Record(n % 3, n // 3, START_MS, {"PAGE": f"page {n}", "N": 10}) for n in range(4)], write_query=counts),
        Source("LAST_OF_TYPE", "TABLE", columns({"K": "STRING KEY"} | _TYPES), "last_of_type", 2, list(types),
               write_query=last),
        Source("HOURLY", "TABLE", columns(page | {"N": "BIGINT"}), "hourly", 1, windows, write_query=hourly,
               window_type="TUMBLING"),
        Source("SESSION_TABLE", "TABLE", columns(page | {"N": "BIGINT"}), "sessions", 1, list(windows),
               write_query=sessions, window_type="SESSION"),
        Source("PRICES", "TABLE", columns({"ID": "BIGINT KEY", "PRICE": "DECIMAL(9, 2)"}), "prices", 2, prices,
               read_queries=(read,)),
        Source("READ_PRICES", "TABLE", columns({"ID": "BIGINT KEY", "PRICE": "DECIMAL(9, 2)"}), "read_prices", 2,
               prices[1:2], write_query=read),
    ])  # fmt: skip


def columns(types: dict[str, str]) -> tuple[Column, ...]:
    return tuple(
        Column(name, parse_type(text.removesuffix(" KEY")), "KEY" if text.endswith(" KEY") else "VALUE")
        for name, text in types.items()
    )


def questions() -> dict[str, dict[str, Any]]:
    """The requests, by the names of their exchanges."""
    asked = {
        "GET /info": _request("/info"),
        "GET /healthcheck": _request("/healthcheck"),
        "GET /nope": _request("/nope"),
    }
    for statement in ("SHOW STREAMS", "SHOW TABLES", "DESCRIBE UNKNOWN", "DESCRIBE UNKNOWN EXTENDED", "SHOW ME"):
        asked[statement] = _request("/ksql", {"ksql": f"{statement};"})
    for name in (*STREAMS, *PULLED, "SESSION_TABLE", "PRICES", "READ_PRICES"):
        for extended in ("", " EXTENDED"):
            asked[f"DESCRIBE {name}{extended}"] = _request("/ksql", {"ksql": f"DESCRIBE `{name}`{extended};"})
    for accept, framing in ((STREAMED, "v1+json"), (PLAIN, "json")):
        for name in (*PULLED, *STREAMS):
            asked[f"pull {name}, {framing}"] = _query(f"SELECT * FROM `{name}`;", accept)
        asked[f"pull by key, {framing}"] = _query("SELECT N FROM CLICK_COUNTS WHERE PAGE = 'page 2';", accept)
        asked[f"pull of nothing, {framing}"] = _query("SELECT * FROM CLICK_COUNTS WHERE PAGE = 'none';", accept)
        asked[f"push PRICES, {framing}"] = _query("SELECT ID, PRICE FROM PRICES EMIT CHANGES;", accept)
        for text, statement in (
            ("of an unknown source", "SELECT * FROM UNKNOWN;"),
            ("of an unknown column", "SELECT NOPE FROM CLICK_COUNTS;"),
            ("of a table that cannot be pulled", "SELECT * FROM PRICES;"),
            ("with a position", "SELECT ROWOFFSET FROM CLICK_COUNTS;"),
            ("that is no SQL", "SELECT FROM WHERE;"),
        ):
            asked[f"error: pull {text}, {framing}"] = _query(statement, accept)
    for name in STREAMS:
        sql = f"SELECT ROWTIME, ROWPARTITION, ROWOFFSET, * FROM `{name}` EMIT CHANGES;"
        asked[f"push {name} from earliest"] = _query(sql, STREAMED)
    where = "WHERE (ROWPARTITION = 0 AND ROWOFFSET >= 9) OR ROWPARTITION > 1"
    asked["push with a predicate"] = _query(f"SELECT ROWOFFSET, PAGE FROM CLICKS {where} EMIT CHANGES;", STREAMED)
    asked["push of an exact decimal"] = _query(
        "SELECT K, STRUCT(V := LONG) AS L FROM EVERY_TYPE EMIT CHANGES;", STREAMED
    )
    return asked


def _request(path: str, body: Any = None) -> dict[str, Any]:
    return {"method": "POST" if body else "GET", "path": path, "headers": {"Accept": PLAIN}, "body": body}


def _query(sql: str, accept: str) -> dict[str, Any]:
    body = {"sql": sql, "properties": {"auto.offset.reset": "earliest", "ksql.streams.num.stream.threads": "1"}}
    return {"method": "POST", "path": "/query-stream", "headers": {"Accept": accept}, "body": body}


def ask(emulator: Emulator, request: dict[str, Any]) -> tuple[int, str]:
    """Status and body of one answer; a push is closed once it has sent what there is."""
    data = None if request["body"] is None else json.dumps(request["body"])
    push = "EMIT CHANGES" in (data or "")
    with requests.request(
        request["method"], emulator.url + request["path"], data=data and data.encode(), headers=request["headers"],
        stream=True, timeout=PATIENCE_S,
    ) as response:  # fmt: skip
        if push and response.status_code == 200:
            name = re.split(r"FROM `?([\w-]+)`?", request["body"]["sql"])[1]
            wanted = {record.partition: record.offset + 1 for record in emulator.source(name).records}
            assert comes_true(lambda: bool(emulator.open_queries) and emulator.sent_to(name) == wanted), request
            requests.post(emulator.url + "/close-query", json={"queryId": emulator.open_queries[0]}, timeout=PATIENCE_S)
        return response.status_code, re.sub(r"(transient_[\w-]+_|query_)\d+", r"\g<1>1", response.content.decode())


def in_odd_states(emulator: Emulator) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests to a server that breaks off, that starts, that refuses pulls, and that wants credentials."""
    pull, info = _query("SELECT * FROM CLICK_COUNTS;", PLAIN), _request("/info")
    emulator.faults.add(Fault("pull", error_after=2))
    yield "a pull that fails", pull
    emulator.restart(starting_s=FOR_EVER_S)
    yield "starting: GET /info", info
    emulator.restart(refuse_pulls_s=FOR_EVER_S)
    yield "restarting: table pull", pull
    emulator.restart()
    emulator.options.user = "reader"
    yield "basic auth", pull


def answers() -> Iterator[dict[str, Any]]:
    """All exchanges, as they are written."""
    with running(own_dataset()) as emulator:
        for name, request in itertools.chain(questions().items(), in_odd_states(emulator)):
            status, body = ask(emulator, request)
            yield {
                "name": f"own: {name}",
                "request": request,
                "response": {"status": status, "body": body, "chunk_bytes": [7, 64]},
            }


if __name__ == "__main__":
    OWN.parent.mkdir(exist_ok=True)
    lines = (json.dumps(entry, ensure_ascii=False, sort_keys=True) for entry in answers())
    OWN.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
