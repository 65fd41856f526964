"""Recorded answers through the client: exactly the recorded rows, or a typed error."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.columns import SqlType, arrow_type, lake_name
from pipeline.errors import AnswerIncomplete, PipelineError, QueryFailed, StatementRefused, ValueNotRepresentable
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.errors import quoted
from pipeline.ksqldb.framing import Ending, Framing, Header, Rows
from pipeline.ksqldb.sqltypes import parse_schema
from tests.decode.engines import engine
from tests.examples import some
from tests.ksqldb.replay import ReplayServer, Scripted, replaying
from tests.vectors import exchanges, in_both, load_lines, needs_vectors, own_exchanges, recorded

pytestmark = pytest.mark.usefixtures(engine.__name__)

SPOKEN = (Framing.STREAMED_ROWS.value, Framing.PLAIN_ARRAY.value)
UTC = ZoneInfo("UTC")  # as Arrow gives it
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
WIDE = Context(prec=76)
KEYS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "INTEGER": int,
    "BIGINT": int,
    "DOUBLE": float,
    "DECIMAL": Decimal,
    "BOOLEAN": "true".__eq__,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with replaying() as script:
        yield script


@cache
def _queries() -> dict[str, dict[str, Any]]:
    newer = {f"8.3.1: {entry['name']}": entry for entry in load_lines("recorded/exchanges-8.3.1.jsonl")}
    return {
        name: entry
        for name, entry in (exchanges() | newer | own_exchanges()).items()
        if entry["request"]["path"] == "/query-stream" and entry["request"]["headers"].get("Accept") in SPOKEN
    }


def ending_of(framing: Framing, body: str) -> Ending:
    """What should close an answer: by the question, which the recorded ending answers."""
    if framing is Framing.STREAMED_ROWS:
        for ending in (Ending.COMPLETED, Ending.LIMIT):
            if f'"finalMessage":"{ending.value}"' in body:
                return ending
    return Ending.BRACKET


def read(server: ReplayServer, framing: Framing, ending: Ending, answer: Scripted) -> tuple[Header, list[Rows]]:
    """Header and rows of one scripted answer."""
    server.say(answer)
    with (
        Client(Connection(server.url, retry_s=0)) as client,
        client.query("SELECT * FROM X;", framing, ending) as answered,
    ):
        return answered.header, list(answered.rows())


@pytest.mark.parametrize("name", some(in_both(_queries())))
def test_recorded_exchange_gives_its_rows_or_a_typed_error(server: ReplayServer, name: str) -> None:
    entry = _queries()[name]
    framing = Framing(entry["request"]["headers"]["Accept"])
    response = entry["response"]
    body = response["body"] or ""
    answer = Scripted(response["status"], list(_pieces(body.encode(), response["chunk_bytes"])))

    if response["status"] != 200 or _is_error(body):
        with pytest.raises(PipelineError) as raised:
            read(server, framing, ending_of(framing, body), answer)
        assert raised.value.hint
        return
    wanted, wanted_deletes = recorded_rows(framing, body)
    if is_julian(body, wanted):
        with pytest.raises(ValueNotRepresentable, match="Julian"):
            read(server, framing, ending_of(framing, body), answer)
        return
    check_read(*read(server, framing, ending_of(framing, body), answer), wanted, wanted_deletes)


def _pieces(body: bytes, sizes: list[Any]) -> Iterator[bytes]:
    """The chunks as recorded; long lists of sizes were shortened in the record, then the rest is one piece."""
    at = 0
    for size in sizes:
        if not isinstance(size, int):
            break
        yield body[at : at + size]
        at += size
    yield body[at:]


def _is_error(body: str) -> bool:
    return '"error_code"' in body


def recorded_rows(framing: Framing, body: str) -> tuple[list[Any], list[int]]:
    elements = json.loads(body, parse_float=Decimal)[1:]
    if framing is Framing.PLAIN_ARRAY:
        return elements, []
    rows = [element["row"] for element in elements if "row" in element]
    return [row["columns"] for row in rows], [place for place, row in enumerate(rows) if row.get("tombstone")]


def is_julian(body: str, recorded: Sequence[Any]) -> bool:
    """Whether a column has the text of an early timestamp, which would be read as another day."""
    header = json.loads(body)[0]
    if "header" in header:
        types = [str(column.type) for column in parse_schema(header["header"]["schema"])]
    else:
        types = header["columnTypes"]
    moments = [place for place, type_ in enumerate(types) if type_ == "TIMESTAMP"]
    return any(row[place] is not None and row[place] < "1582-10-15" for row in recorded for place in moments)


def check_read(header: Header, read: Sequence[Rows], recorded: Sequence[Any], deletes: Sequence[int]) -> None:
    """Exactly the recorded rows, with what their tokens mean by the declared types, and their deletes."""
    row_count, marked = 0, []
    for part in read:
        part.batch.validate(full=True)
        marked += [row_count + place for place in part.tombstones]
        row_count += part.batch.num_rows
    assert (row_count, marked) == (len(recorded), deletes)
    for place, column in enumerate(header.columns):
        values = [value for part in read for value in part.batch.column(place).to_pylist()]
        assert all(part.batch.column(place).type == arrow_type(column.type) for part in read)
        assert repr(values) == repr([meaning(row[place], column.type) for row in recorded]), column.name


def meaning(value: Any, type_: SqlType) -> Any:
    """What a token means, by its declared type."""
    if value is None:
        return None
    if type_.base == "DOUBLE":
        return float(value)
    if type_.base == "DECIMAL":
        return Decimal(value).quantize(Decimal(1).scaleb(-type_.scale), context=WIDE)
    if type_.base == "BYTES":
        return base64.b64decode(value)
    if type_.base == "DATE":
        return EPOCH.date() + dt.timedelta(value) if isinstance(value, int) else dt.date.fromisoformat(value)
    if type_.base == "TIME":
        at = EPOCH + dt.timedelta(milliseconds=value) if isinstance(value, int) else dt.time.fromisoformat(value)
        return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}"
    if type_.base == "TIMESTAMP":
        if isinstance(value, int):
            return EPOCH + dt.timedelta(milliseconds=value)
        return dt.datetime.fromisoformat(value).replace(tzinfo=UTC)
    if type_.base == "ARRAY":
        assert type_.element
        return [meaning(item, type_.element) for item in value]
    if type_.base == "MAP":
        assert type_.key and type_.element
        return [(KEYS[type_.key.base](name), meaning(item, type_.element)) for name, item in value.items()]
    if type_.base == "STRUCT":
        return {lake_name(name): meaning(value[name], field) for name, field in type_.fields}
    return value


VECTORS = load_lines("rqtt_vectors.jsonl")


@needs_vectors
@pytest.mark.long
@pytest.mark.parametrize("framing", list(Framing))
def test_every_answer_of_the_servers_own_suite_in_both_framings(server: ReplayServer, framing: Framing) -> None:
    read_count, refused = 0, []
    for vector in VECTORS:
        schema = (vector.get("header") or {}).get("schema")
        if not schema or any("columns" not in row for row in vector["rows"]):
            continue  # protobuf answers, which the pipeline never asks for
        body, ending = reframed(vector, framing)

        try:
            header, rows = read(server, framing, ending, Scripted(200, [body[:7], body[7:]]))
        except PipelineError:
            refused.append(vector["name"])
            continue

        tombstones = [place for place, row in enumerate(vector["rows"]) if row.get("tombstone")]
        kept = [
            row["columns"]
            for place, row in enumerate(vector["rows"])
            if framing is Framing.STREAMED_ROWS or place not in tombstones
        ]
        check_read(header, rows, kept, tombstones if framing is Framing.STREAMED_ROWS else [])
        read_count += 1
    assert read_count > 200
    # Its header names the columns in another order than its rows have them. We name the columns that we ask for.
    assert refused == ["select * against CST table with headers"]


def reframed(vector: dict[str, Any], framing: Framing) -> tuple[bytes, Ending]:
    """A vector's answer as bytes of that framing."""
    schema, final = vector["header"]["schema"], (vector.get("final") or {}).get("finalMessage")
    if framing is Framing.STREAMED_ROWS:
        elements = [{"header": {"queryId": "q", "schema": schema}}, *({"row": row} for row in vector["rows"])]
        if final:
            elements.append({"finalMessage": final})
        ending = next((ending for ending in Ending if ending.value == final), Ending.BRACKET)
        return ("[" + ",\n".join(map(json.dumps, elements)) + "]").encode(), ending
    columns = parse_schema(schema)
    head = {"queryId": "q", "columnNames": [c.name for c in columns], "columnTypes": [str(c.type) for c in columns]}
    rows = [row["columns"] for row in vector["rows"] if not row.get("tombstone")]  # this framing drops deletes
    return json.dumps([head, *rows]).encode(), Ending.BRACKET


@needs_vectors
@pytest.mark.parametrize("error", load_lines("rqtt_errors.jsonl"), ids=lambda error: error["name"][:60])
def test_every_error_of_the_servers_own_suite_is_typed(server: ReplayServer, error: dict[str, Any]) -> None:
    expected = error["expectedError"]
    body = json.dumps(
        {"@type": "statement_error", "error_code": 40001, "message": expected["message"], "statementText": "",
         "entities": []}
    )  # fmt: skip

    with pytest.raises(StatementRefused) as raised:
        read(server, Framing.PLAIN_ARRAY, Ending.BRACKET, Scripted(expected.get("status", 400), [body.encode()]))

    assert quoted(expected["message"]) in raised.value.message


def test_an_answer_that_breaks_off_is_never_taken(server: ReplayServer) -> None:
    for name, accept in (("own: pull CLICK_COUNTS, json", 1), ("own: push EVERY_TYPE from earliest", 0)):
        body = recorded(name)["response"]["body"].encode()
        framing = list(Framing)[accept]
        ending = ending_of(framing, body.decode())
        for end in some(range(0, len(body), 37)):
            for answer in (
                Scripted(200, [body[:end]], cut=True),
                Scripted(200, [body[:end]]),
                Scripted(200, [body[:end]], chunked=False),
            ):
                with pytest.raises((AnswerIncomplete, QueryFailed)):
                    read(server, framing, ending, answer)
        assert read(server, framing, ending, Scripted(200, [body], chunked=False))[1]
