"""ksqlDB's SQL types: read from a header or a DESCRIBE answer, and what each becomes in Arrow.

The text form is that of `header.schema` and `columnTypes` (`DECIMAL(18, 2)`, ``STRUCT<`A` INTEGER>``); the JSON form
that of `fields[].schema` in DESCRIBE, which does not tell a MAP's key type. Seen on 7.2, 7.6 and 8.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import TypeNotSupported, printable

SCALARS: Mapping[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.string(),  # HH:MM:SS.mmm: Delta has no time type
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
_MAP_KEYS = {"BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "DECIMAL", "STRING"}


@dataclass(frozen=True)
class SqlType:
    """One type: `base` is the SQL word; the rest is filled as the base needs."""

    base: str
    precision: int = 0
    scale: int = 0
    key: SqlType | None = None
    element: SqlType | None = None
    fields: tuple[tuple[str, SqlType], ...] = ()

    def __str__(self) -> str:
        if self.base == "DECIMAL":
            return f"DECIMAL({self.precision}, {self.scale})"
        if self.base == "ARRAY":
            return f"ARRAY<{self.element}>"
        if self.base == "MAP":
            return f"MAP<{self.key}, {self.element}>"
        if self.base == "STRUCT":
            inner = ", ".join(f"`{name}` {type_}" for name, type_ in self.fields)
            return f"STRUCT<{inner}>" if inner else "STRUCT< >"
        return self.base

    def arrow(self) -> pa.DataType:
        """The Arrow type that carries every value of this type exactly.

        Raises TypeNotSupported for what Arrow, Parquet or Delta cannot hold.
        """
        if self.base in SCALARS:
            return SCALARS[self.base]
        if self.base == "DECIMAL" and 0 < self.precision <= 38 and self.scale <= self.precision:
            return pa.decimal128(self.precision, self.scale)
        if self.base == "ARRAY":
            assert self.element
            return pa.list_(pa.field("element", self.element.arrow()))
        if self.base == "MAP":
            assert self.key and self.element
            if self.key.base not in _MAP_KEYS:
                raise TypeNotSupported(
                    f"a map with {self.key} keys cannot be read exactly: the server sends such keys as shortened text",
                    "derive a stream that casts the keys to STRING and export that one",
                )
            return pa.map_(self.key.arrow(), self.element.arrow())
        if self.base == "STRUCT" and self.fields:
            return pa.struct([pa.field(name, type_.arrow()) for name, type_ in self.fields])
        raise TypeNotSupported(f"columns of type {self} are not supported", "leave the column out in a derived stream")


@dataclass(frozen=True)
class Column:
    """A column as the server declares it; `role` is KEY, HEADER or VALUE."""

    name: str
    type: SqlType
    role: str = "VALUE"


class _Cursor:
    """Reads type text from left to right; a wrong character is a TypeNotSupported that shows the text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def fail(self) -> TypeNotSupported:
        text = printable(self.text, 500)
        return TypeNotSupported(
            f"the server describes its columns in a way that is not understood at character {self.at}: {text!r}",
            "report this text, with the server's version",
        )

    def skip(self, literal: str) -> bool:
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def expect(self, literal: str) -> None:
        if not self.skip(literal):
            raise self.fail()

    def word(self) -> str:
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] == "_"):
            self.at += 1
        if start == self.at:
            raise self.fail()
        return self.text[start : self.at]

    def number(self) -> int:
        word = self.word()
        if not word.isdecimal():
            raise self.fail()
        return int(word)

    def quoted_name(self) -> str:
        self.expect("`")
        end = self.text.find("` ", self.at)
        if end < 0:
            raise self.fail()
        name, self.at = self.text[self.at : end], end + 2
        return name

    def type(self) -> SqlType:
        base = self.word()
        if base in SCALARS:
            return SqlType(base)
        if base == "DECIMAL":
            self.expect("(")
            precision = self.number()
            self.expect(", ")
            scale = self.number()
            self.expect(")")
            return SqlType(base, precision=precision, scale=scale)
        if base not in ("ARRAY", "MAP", "STRUCT"):
            raise self.fail()
        self.expect("<")
        if base == "ARRAY":
            result = SqlType(base, element=self.type())
        elif base == "MAP":
            key = self.type()
            self.expect(", ")
            result = SqlType(base, key=key, element=self.type())
        else:
            result = SqlType(base, fields=tuple(self._fields()))
        self.expect(">")
        return result

    def _fields(self) -> Iterator[tuple[str, SqlType]]:
        if self.skip(" "):  # an empty struct prints `STRUCT< >`
            return
        while True:
            name = self.quoted_name()
            yield name, self.type()
            if not self.skip(", "):
                return


def parse_type(text: str) -> SqlType:
    """The type that one element of `columnTypes` names."""
    cursor = _Cursor(text)
    result = cursor.type()
    if cursor.at != len(text):
        raise cursor.fail()
    return result


def parse_schema(text: str) -> tuple[Column, ...]:
    """The columns of `header.schema`: ``"`ID` INTEGER KEY, `V` STRING"``."""
    cursor, columns = _Cursor(text), []
    while True:
        name = cursor.quoted_name()
        type_ = cursor.type()
        role = "VALUE"
        if cursor.skip(" KEY"):
            role = "KEY"
        elif cursor.skip(" HEADERS") or cursor.skip(" HEADER("):
            role = "HEADER"
            if cursor.text[cursor.at - 1] == "(":
                end = cursor.text.find(")", cursor.at)
                if end < 0:
                    raise cursor.fail()
                cursor.at = end + 1
        columns.append(Column(name, type_, role))
        if cursor.at == len(text):
            return tuple(columns)
        cursor.expect(", ")


def described_type(schema: Mapping[str, Any]) -> SqlType:
    """The type in a DESCRIBE answer's `fields[].schema`.

    A MAP's key type is not in there: STRING, the only one that the JSON and Avro formats take, is assumed, and the
    header of the query that reads the column corrects it.
    """
    base = str(schema["type"])
    if base == "DECIMAL":
        parameters = schema.get("parameters") or {}
        return SqlType(base, precision=int(parameters["precision"]), scale=int(parameters["scale"]))
    if base == "ARRAY":
        return SqlType(base, element=described_type(schema["memberSchema"]))
    if base == "MAP":
        return SqlType(base, key=SqlType("STRING"), element=described_type(schema["memberSchema"]))
    if base == "STRUCT":
        fields = tuple((str(field["name"]), described_type(field["schema"])) for field in schema["fields"] or ())
        return SqlType(base, fields=fields)
    return SqlType(base)
