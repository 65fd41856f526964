"""Sources, roles and offsets, as recorded DESCRIBE and SHOW answers tell them."""

from __future__ import annotations

import json

import pytest

from pipeline.columns import Column
from pipeline.errors import (
    ActionNeeded,
    AnswerMalformed,
    SourceNotReadable,
    SourceUnknown,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import (
    describe,
    find_source,
    list_sources,
    quote,
    true_ends,
)
from pipeline.ksqldb.sqltypes import parse_schema, parse_type
from pipeline.source import Offsets
from tests import own_recording
from tests.ksqldb.descriptions import asked, described, say_described
from tests.ksqldb.replay import ReplayServer, Scripted
from tests.vectors import in_both, load_json, needs_vectors, recorded

LISTS = ("SHOW STREAMS, Accept application/vnd.ksql.v1+json", "SHOW TABLES")
OWN_LISTS = ("own: SHOW STREAMS", "own: SHOW TABLES")
PULLED = (
    "USER_TRANSACTION_SUMMARY",
    "USER_TRANSACTION_SUMMARY_EUR",
    "PAYMENT_METHOD_TOTALS",
    "PRODUCT_PURCHASE_COUNTS",
    "ALL_TYPES_TABLE",
    "FILTERED_TABLE",
    "TUMBLING_TABLE",
    "SESSION_TABLE",
)
PUSHED = (
    "TRANSACTION_STREAM",
    "TRANSACTION_FLATTENED",
    "TRANSACTION_STREAM_ANONYMIZED",
    "TRANSACTION_STREAM_BLACKLISTED",
    "ALL_TYPES",
    "mixed-Case",
    "SOURCE_TABLE",
)


def recorded_header(exchange: str) -> tuple[Column, ...]:
    body = recorded(exchange)["response"]["body"]
    return parse_schema(json.JSONDecoder().raw_decode(body[1:])[0]["header"]["schema"])


@pytest.mark.parametrize("name", in_both([*PULLED, *(f"own: {name}" for name in own_recording.PULLED)]))
def test_columns_and_keys_of_a_table_are_those_that_a_pull_answers_with(
    server: ReplayServer, client: Client, name: str
) -> None:
    own, name = name.startswith("own: ") * "own: ", name.removeprefix("own: ")
    header = recorded_header(f"{own}pull {name}, v1+json")
    server.say_recorded(f"{own}DESCRIBE {name}")

    source = describe(client, name)

    # A pull of a windowed table also answers with the window's bounds, as key columns.
    assert source.columns == tuple(column for column in header if column.name not in ("WINDOWSTART", "WINDOWEND"))
    assert (source.name, source.kind, source.pullable) == (name, "table", True)
    assert source.window == {"TUMBLING_TABLE": "TUMBLING", "SESSION_TABLE": "SESSION", "HOURLY": "TUMBLING"}.get(name)
    assert asked(server) == [f"DESCRIBE `{name}`;"]


@pytest.mark.parametrize("name", in_both([*PUSHED, *(f"own: {name}" for name in own_recording.STREAMS[:-1])]))
def test_columns_of_a_stream_are_those_that_a_push_answers_with(
    server: ReplayServer, client: Client, name: str
) -> None:
    own, name = name.startswith("own: ") * "own: ", name.removeprefix("own: ")
    exchange = f"push table {name}" if name == "SOURCE_TABLE" else f"{own}push {name} from earliest"
    header = recorded_header(exchange)
    server.say_recorded(f"{own}DESCRIBE {name}")

    source = describe(client, name)

    answer = [(column.name, column.type) for column in source.columns]
    assert answer == [(column.name, column.type) for column in header if not column.name.startswith("ROW")]
    assert [column.name for column in source.columns if column.role == "KEY"] == [answer[0][0]]
    assert not source.pullable


def test_topic_partitions_readers_and_ends_of_an_emulated_stream_are_told(server: ReplayServer, client: Client) -> None:
    server.say_recorded("own: DESCRIBE CLICKS", "own: DESCRIBE CLICK_COUNTS EXTENDED")

    source = describe(client, "CLICKS")

    assert (source.kind, source.window, source.topic, source.partitions) == ("stream", None, "clicks", 3)
    assert source.readers == ("CLICK_COUNTS", "HOURLY")
    assert true_ends(client, source) == {0: Offsets(0, 14, 14), 1: Offsets(0, 13, 13), 2: Offsets(0, 13, 13)}


@needs_vectors
def test_topic_partitions_and_readers_are_told(server: ReplayServer, client: Client) -> None:
    server.say_recorded("DESCRIBE TRANSACTION_STREAM")

    source = describe(client, "TRANSACTION_STREAM")

    assert (source.kind, source.window, source.topic, source.partitions) == ("stream", None, "transactions", 3)
    assert source.readers == ("TRANSACTION_FLATTENED", "TRANSACTION_PRODUCTS")


@pytest.mark.parametrize(
    ("statement", "pullable"),
    [
        ("CREATE SOURCE TABLE T (ID STRING PRIMARY KEY) WITH (...);", True),
        ("  create or replace\n source   table t ...", True),
        ("CREATE TABLE SOURCE TABLE_X ...", False),
        ("CREATE TABLE SOURCE_TABLE (ID STRING PRIMARY KEY) ...", False),
        ("", False),
    ],
)
def test_a_table_that_nothing_writes_is_pullable_as_a_source_table_only(
    server: ReplayServer, client: Client, statement: str, pullable: bool
) -> None:
    say_described(server, described("own: PRICES") | {"statement": statement})

    assert describe(client, "PRICES").pullable is pullable


@needs_vectors
@pytest.mark.parametrize(
    "case", ["testPrintSourceDescriptionWithHeaders", "testPrintSourceDescriptionWithExtractedHeader"]
)
def test_columns_from_record_headers_are_known_as_such(server: ReplayServer, client: Client, case: str) -> None:
    (body,) = [vector["body"] for vector in load_json("ksql_admin_vectors.json") if vector["case"] == case]
    server.say(Scripted(200, [json.dumps(body).encode()]))

    assert "HEADER" in {column.role for column in describe(client, "TestSource").columns}


def test_what_older_servers_leave_out_is_not_needed(server: ReplayServer, client: Client) -> None:
    answer = described("own: EVERY_TYPE")
    for name in ("readQueries", "writeQueries", "windowType", "statement", "partitions", "sourceConstraints"):
        del answer[name]
    say_described(server, answer)

    source = describe(client, "EVERY_TYPE")

    assert (source.readers, source.window, source.partitions, source.pullable) == ((), None, 0, False)


@needs_vectors
def test_describe_does_not_tell_the_keys_of_a_map_so_strings_are_assumed(server: ReplayServer, client: Client) -> None:
    server.say_recorded("DESCRIBE DEEP")

    types = {column.name: column.type for column in describe(client, "DEEP").columns}

    assert types["M"] == parse_type("MAP<STRING, STRUCT<`D` DECIMAL(30, 10)>>")


def test_everything_that_the_emulator_lists_is_found(server: ReplayServer, client: Client) -> None:
    server.say_recorded(*OWN_LISTS)

    kinds = {source.name: source.kind.lower() for source in own_recording.own_dataset().sources}
    assert list_sources(client) == kinds


@needs_vectors
def test_everything_that_the_server_lists_is_found(server: ReplayServer, client: Client) -> None:
    server.say_recorded(*LISTS)

    kinds = list_sources(client)

    assert kinds["TRANSACTION_STREAM"] == kinds["mixed-Case"] == "stream"
    assert kinds["SOURCE_TABLE"] == kinds["SESSION_TABLE"] == "table"
    assert set(kinds) >= {*PULLED, *PUSHED}


@pytest.mark.parametrize("name", ["Mixed-Name", "MIXED-NAME", "mixed-name"])
def test_a_name_is_matched_exactly_or_but_for_case(server: ReplayServer, client: Client, name: str) -> None:
    server.say_recorded(*OWN_LISTS, "own: DESCRIBE Mixed-Name")

    assert find_source(client, name).name == "Mixed-Name"
    assert asked(server)[-1] == "DESCRIBE `Mixed-Name`;"


def test_a_name_that_two_sources_share_but_for_case_must_be_exact(server: ReplayServer, client: Client) -> None:
    streams = [{"@type": "streams", "streams": [{"name": "EVENTS"}, {"name": "Events"}]}]
    tables = [{"@type": "tables", "tables": [{"name": "OTHER"}]}]
    lists = [Scripted(200, [json.dumps(entity).encode()]) for entity in (streams, tables)]

    server.say(*lists)
    with pytest.raises(SourceUnknown, match="'events' is ambiguous: the server has EVENTS and Events"):
        find_source(client, "events")
    server.say(*lists, Scripted(200, [b"[]"]))
    with pytest.raises(AnswerMalformed, match="sourceDescription"):
        find_source(client, "Events")
    assert asked(server)[-1] == "DESCRIBE `Events`;"


def test_a_name_that_the_server_does_not_have_shows_those_it_has(server: ReplayServer, client: Client) -> None:
    server.say_recorded(*OWN_LISTS)

    with pytest.raises(SourceUnknown, match="'NOPE' does not exist") as raised:
        find_source(client, "NOPE")

    assert "CLICKS" in raised.value.hint


@pytest.mark.parametrize("name", ["X`; DROP STREAM Y; --", "a b", "", "ü", "${x}", "a.b", "X\n"])
def test_a_name_outside_the_servers_grammar_never_reaches_it(server: ReplayServer, client: Client, name: str) -> None:
    server.say_recorded("own: DESCRIBE CLICKS")

    with pytest.raises(SourceUnknown):
        describe(client, name)

    assert server.asked == []


@pytest.mark.parametrize("name", ["a`b", "${secret}", "x\x00"])
def test_a_column_that_cannot_be_quoted_safely_is_refused(name: str) -> None:
    assert quote("any 'thing\" else; --") == "`any 'thing\" else; --`"
    with pytest.raises(SourceNotReadable):
        quote(name)


@pytest.mark.parametrize("name", in_both(["error: DESCRIBE unknown", "own: DESCRIBE UNKNOWN"]))
def test_a_source_that_is_gone_is_told_in_the_servers_words(server: ReplayServer, client: Client, name: str) -> None:
    server.say_recorded(name)

    with pytest.raises(ActionNeeded, match="UNKNOWN" if "own: " in name else "NOPE"):
        describe(client, "NOPE")


def test_a_column_from_record_headers_has_its_own_role(server: ReplayServer, client: Client) -> None:
    answer = described("own: CLICKS")
    answer["fields"].append({"name": "H", "schema": {"type": "BYTES", "fields": None, "memberSchema": None},
                           "headerKey": "h", "type": "HEADER"})  # fmt: skip
    say_described(server, answer)

    assert [column.role for column in describe(client, "CLICKS").columns] == ["KEY", "VALUE", "VALUE", "HEADER"]
