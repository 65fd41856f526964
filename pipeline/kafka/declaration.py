"""How ksqlDB reads the records of a stream's or table's topic, derived from DESCRIBE and its statement.

Facts: ksqlDB's documentation of CREATE STREAM, CREATE TABLE and of its serialization formats; DESCRIBE as recorded on
7.6 and 8.3. All records in the topic of a table that a query writes are rows, whatever their ROWTIME. A table declared
over a topic, like a stream, has no row for a record whose timestamp column has no time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.columns import POSITION_COLUMNS, Column, SqlType
from pipeline.errors import SourceNotReadable
from pipeline.kafka.formats.payload import FormatName, Payload

if TYPE_CHECKING:  # a worker that is handed a declaration needs no HTTP
    from pipeline.ksqldb.describe import Description

_TOKEN = re.compile(r"'(?:[^']|'')*'|`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|[(),=]|[^\s(),='`\"]+")
_FORMATS: Mapping[str, FormatName] = {
    "JSON": "JSON",
    "JSON_SR": "JSON_SR",
    "AVRO": "AVRO",
    "PROTOBUF": "PROTOBUF",
    "PROTOBUF_NOSR": "PROTOBUF_NOSR",
    "DELIMITED": "DELIMITED",
    "KAFKA": "KAFKA",
    "NONE": "NONE",
}
WINDOW_BOUNDS = ("WINDOWSTART", "WINDOWEND")
_WINDOW = re.compile(r"\bWINDOW (?:TUMBLING|HOPPING) \( SIZE (\d+ \w+) ", re.IGNORECASE)
_UNITS_MS = {"MILLISECOND": 1, "SECOND": 1000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}
_CAN_BE_BARE = ("JSON", "JSON_SR", "AVRO")
"""The formats in which a single value may or may not be wrapped in a record, as the server's default says."""


@dataclass(frozen=True)
class Declaration:
    """Where each column of a stream's or table's rows is in a record.

    `columns` are all columns in the lake's order, a stream's positions first. `headers` are the columns of record
    headers, each with its header's key, or None for the column of all headers. `timestamp` is the column that gives
    ROWTIME, empty for the record's own time, and `timestamp_format` its format where it is text. A table's keys may be
    followed by a `window`.
    """

    columns: tuple[Column, ...]
    key: Payload
    value: Payload
    headers: tuple[tuple[str, str | None], ...]
    timestamp: str
    timestamp_format: str
    window: Window | None = None


@dataclass(frozen=True)
class Window:
    """The window after a key: `type` is TUMBLING, HOPPING or SESSION; `size_ms` is 0 for SESSION, which has its end."""

    type: str
    size_ms: int = 0


def declared_table(source: Description, columns: tuple[Column, ...], wraps: Callable[[], bool]) -> Declaration:
    """The declaration of a table. `columns` are its columns with exact types, including the bounds of windows.

    `wraps` as in `declared`. Raises SourceNotReadable.
    """
    window = None
    if source.window is not None:
        window = Window(source.window, 0 if source.window == "SESSION" else _window_size_ms(source))
    bounds = WINDOW_BOUNDS if window else ()
    found = _declared(source, tuple(column for column in columns if column.name not in bounds), wraps)
    if not found.key.columns or found.value.format == "NONE":
        raise _not_from_kafka(source, "it has no column in the keys or in the values of its records")
    if found.headers:
        raise _not_from_kafka(source, "it has columns of headers")
    if source.is_written:
        found = replace(found, timestamp="", timestamp_format="")
    if found.timestamp in (name for name, _ in found.key.columns):
        raise _not_from_kafka(source, "its ROWTIME is in its key")
    return replace(found, columns=columns, window=window)


def declared(source: Description, columns: tuple[Column, ...], wraps: Callable[[], bool]) -> Declaration:
    """The declaration of a stream. `columns` are its columns with exact types, after the positions.

    `wraps` asks the server whether single values are wrapped by default. Raises SourceNotReadable.
    """
    if source.window is not None:
        raise _not_from_kafka(source, "its keys are windows")
    return _declared(source, columns, wraps)


def _declared(source: Description, columns: tuple[Column, ...], wraps: Callable[[], bool]) -> Declaration:
    given = properties(source.statement)
    if any(name.endswith("_PROTOBUF_NULLABLE_REPRESENTATION") for name in given):
        raise _not_from_kafka(source, "its statement says how PROTOBUF has NULLs")
    own = tuple(column for column in columns if column.lake_name not in POSITION_COLUMNS)
    keys, values = _of_role(own, "KEY"), _of_role(own, "VALUE")
    key_format, value_format = _format(source, source.key_format), _format(source, source.value_format)
    if not values and value_format != "NONE":
        raise _not_from_kafka(source, "it has no column in the values of its records")
    wrapped = True
    if len(values) == 1 and value_format in _CAN_BE_BARE:
        said = given.get("WRAP_SINGLE_VALUE")
        wrapped = wraps() if said is None else said.upper() == "TRUE"
    bare_key = len(keys) == 1 and not key_format.startswith("PROTOBUF")
    by_name = dict(source.header_keys)
    return Declaration(
        columns,
        Payload(key_format, keys, not bare_key, given.get("KEY_DELIMITER", ",")),
        Payload(value_format, values, wrapped, given.get("VALUE_DELIMITER", ",")),
        tuple((column.name, by_name.get(column.name)) for column in own if column.role == "HEADER"),
        source.timestamp,
        given.get("TIMESTAMP_FORMAT", ""),
    )


def properties(statement: str) -> dict[str, str]:
    """The WITH clause of a CREATE statement: names in capitals, texts without their quotes.

    It follows the columns, in brackets; nothing else before AS SELECT has such brackets.
    """
    tokens, depth = _TOKEN.findall(statement), 0
    for at, token in enumerate(tokens):
        depth += (token == "(") - (token == ")")
        if depth == 0 and token.upper() == "AS":
            break
        if depth == 0 and token.upper() == "WITH" and tokens[at + 1 : at + 2] == ["("]:
            inside = tokens[at + 2 :]
            inside = inside[: inside.index(")")] if ")" in inside else inside
            pairs = [place for place, sign in enumerate(inside) if sign == "=" and 0 < place < len(inside) - 1]
            return {inside[place - 1].strip("`\"'").upper(): _text(inside[place + 1]) for place in pairs}
    return {}


def _window_size_ms(source: Description) -> int:
    """The size of TUMBLING and HOPPING windows, from the query that writes the table, or from its WITH clause."""
    bare = (token for token in _TOKEN.findall(source.statement) if token[0] not in "'`\"")
    found = _WINDOW.search(" ".join(bare))
    said = properties(source.statement).get("WINDOW_SIZE", "")
    size = found[1] if found and found[0].split()[1].upper() == source.window else said
    number, _, unit = size.strip().upper().partition(" ")
    unit_ms = _UNITS_MS.get(unit.strip().removesuffix("S"))
    if not number.isdecimal() or unit_ms is None:
        raise _not_from_kafka(source, "its statement does not tell the size of its windows")
    return int(number) * unit_ms


def _text(token: str) -> str:
    return token[1:-1].replace("''", "'") if token.startswith("'") else token


def _of_role(columns: tuple[Column, ...], role: str) -> tuple[tuple[str, SqlType], ...]:
    return tuple((column.name, column.type) for column in columns if column.role == role)


def _format(source: Description, name: str) -> FormatName:
    if name.upper() not in _FORMATS:
        raise _not_from_kafka(source, f"it has the format {name or 'that the server does not name'}")
    return _FORMATS[name.upper()]


def _not_from_kafka(source: Description, why: str) -> SourceNotReadable:
    return SourceNotReadable(
        f"{source.name} cannot be read from Kafka itself: {why}",
        "read it by ksqlDB: python manage_feeds.py update FEED --read-from ksqldb",
    )
