"""What DESCRIBE and the statement say of a stream's records."""

from __future__ import annotations

import pytest

from pipeline.columns import Column, SqlType
from pipeline.errors import SourceNotReadable
from pipeline.kafka.declaration import Declaration, Window, declared, declared_table, properties
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import Description
from pipeline.ksqldb.stream import KsqldbStream

ID, V, W = (Column(name, SqlType("STRING"), role) for name, role in (("ID", "KEY"), ("V", "VALUE"), ("W", "VALUE")))


def stream(*columns: Column, statement: str = "", window: str | None = None, **more: str) -> Description:
    formats = {"key_format": "KAFKA", "value_format": "JSON"} | more
    return Description("S", "stream", "s", 1, columns, window, False, (), statement=statement, **formats)  # type: ignore[arg-type] # formats are text


def declaration(described: Description, wraps: bool = True) -> Declaration:
    with Client(Connection("http://nowhere:1")) as client:
        return declared(described, KsqldbStream(client, described).columns(), lambda: wraps)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("CREATE STREAM S (ID STRING KEY, V STRING) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON');",
         {"KAFKA_TOPIC": "s", "VALUE_FORMAT": "JSON"}),
        ("CREATE STREAM S WITH (PARTITIONS=3, wrap_single_value=false) AS SELECT A, B FROM X WITHIN (1 DAYS) T;",
         {"PARTITIONS": "3", "WRAP_SINGLE_VALUE": "false"}),
        ("CREATE STREAM S (V DECIMAL(5, 2), `WITH (` STRUCT<A INTEGER>) WITH (VALUE_DELIMITER=',')",
         {"VALUE_DELIMITER": ","}),
        ("CREATE STREAM S (V STRING) WITH (TIMESTAMP_FORMAT='yyyy-MM-dd''T''HH:mm:ssX', TIMESTAMP='V')",
         {"TIMESTAMP_FORMAT": "yyyy-MM-dd'T'HH:mm:ssX", "TIMESTAMP": "V"}),
        ("CREATE STREAM S AS SELECT * FROM X WITH (A='b');", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_the_with_clause_is_read_as_the_server_prints_it(statement: str, found: dict[str, str]) -> None:
    assert properties(statement) == found


def test_keys_values_and_headers_are_where_the_columns_say() -> None:
    headers = Column("H", SqlType("BYTES"), "HEADER"), Column("ALL", SqlType("BYTES"), "HEADER")
    described = stream(ID, V, *headers, W, statement="CREATE STREAM S (V STRING) WITH (VALUE_DELIMITER='TAB')")
    found = declaration(
        Description(**{**vars(described), "header_keys": (("H", "trace"),), "value_format": "DELIMITED"})
    )

    assert [column.name for column in found.columns][3:] == ["ID", "V", "H", "ALL", "W"]
    assert (found.key.format, found.key.wrapped) == ("KAFKA", False)
    assert [name for name, _ in found.value.columns] == ["V", "W"]
    assert found.value.delimiter == "TAB"
    assert found.headers == (("H", "trace"), ("ALL", None))


@pytest.mark.parametrize(
    ("described", "by_default", "wrapped"),
    [
        (stream(ID, V, statement="CREATE STREAM S (V STRING) WITH (WRAP_SINGLE_VALUE=false)"), True, False),
        (stream(ID, V, statement="CREATE STREAM S (V STRING) WITH (WRAP_SINGLE_VALUE=true)"), False, True),
        (stream(ID, V), True, True),
        (stream(ID, V), False, False),
        (stream(ID, V, W), False, True),
        (stream(ID, V, value_format="PROTOBUF"), False, True),
    ],
)
def test_a_single_value_is_wrapped_as_the_statement_says_or_the_server(
    described: Description, by_default: bool, wrapped: bool
) -> None:
    assert declaration(described, by_default).value.wrapped == wrapped


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (stream(ID, V, window="SESSION"), "its keys are windows"),
        (stream(ID), "it has no column in the values of its records"),
        (stream(ID, V, value_format="SOMETHING"), "it has the format SOMETHING"),
        (stream(ID, V, key_format=""), "it has the format that the server does not name"),
        (
            stream(ID, V, statement="CREATE STREAM S (V INT) WITH (VALUE_PROTOBUF_NULLABLE_REPRESENTATION='OPTIONAL')"),
            "its statement says how PROTOBUF has NULLs",
        ),
    ],
)
def test_what_cannot_be_read_from_kafka_is_refused_with_the_other_way(described: Description, why: str) -> None:
    with pytest.raises(SourceNotReadable, match=why) as raised:
        declaration(described)

    assert "--read-from ksqldb" in raised.value.hint


_TUMBLING = (
    "CREATE TABLE T WITH (KEY_FORMAT='JSON') AS SELECT V FROM S WINDOW TUMBLING ( SIZE 1 HOURS , RETENTION 9 DAYS ) "
)
_HOPPING = (
    "CREATE TABLE T AS SELECT 'WINDOW TUMBLING ( SIZE 9 DAYS )' W FROM S"
    " WINDOW HOPPING ( SIZE 30 SECONDS , ADVANCE BY 1 SECONDS ) "
)
_OVER_A_TOPIC = (
    "CREATE TABLE T (ID STRING PRIMARY KEY, V STRING) WITH (WINDOW_TYPE='Tumbling', WINDOW_SIZE='15 MINUTES')"
)
_BOUNDS = tuple(Column(name, SqlType("BIGINT"), "KEY") for name in ("WINDOWSTART", "WINDOWEND"))


@pytest.mark.parametrize(
    ("window", "statement", "size_ms"),
    [
        ("TUMBLING", _TUMBLING, 3_600_000),
        ("HOPPING", _HOPPING, 30_000),
        ("TUMBLING", _OVER_A_TOPIC, 900_000),
        ("SESSION", "CREATE TABLE T AS SELECT V FROM S WINDOW SESSION ( 1 HOURS )", 0),
    ],
)
def test_the_windows_of_a_table_are_as_its_statement_says(window: str, statement: str, size_ms: int) -> None:
    described = stream(ID, V, W, window=window, statement=statement)

    found = declared_table(described, (ID, *_BOUNDS, V, W), lambda: True)

    assert found.window == Window(window, size_ms)
    assert found.key.columns == ((ID.name, ID.type),)
    assert [column.name for column in found.columns] == ["ID", "WINDOWSTART", "WINDOWEND", "V", "W"]


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (
            stream(ID, V, window="TUMBLING", statement="CREATE TABLE T AS SELECT * FROM A_WINDOWED_TABLE"),
            "the size of its windows",
        ),
        (stream(ID, V, value_format="NONE"), "no column in the keys or in the values"),
        (stream(V, W), "no column in the keys or in the values"),
        (stream(ID, V, Column("H", SqlType("BYTES"), "HEADER")), "columns of headers"),
        (stream(ID, V, timestamp="ID"), "its ROWTIME is in its key"),
    ],
)
def test_what_table_cannot_be_folded_is_refused_with_the_other_way(described: Description, why: str) -> None:
    with pytest.raises(SourceNotReadable, match=why) as raised:
        declared_table(described, described.columns, lambda: True)

    assert "--read-from ksqldb" in raised.value.hint


def test_rowtime_decides_nothing_of_a_table_that_a_query_writes() -> None:
    described = stream(ID, V, timestamp="V")

    assert declared_table(described, (ID, V), lambda: True).timestamp == "V"
    written = Description(**{**vars(described), "is_written": True})
    assert declared_table(written, (ID, V), lambda: True).timestamp == ""
