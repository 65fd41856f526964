"""ksqlDB's SQL types, read from a header or a DESCRIBE answer.

The text form is that of `header.schema` and `columnTypes` (`DECIMAL(18, 2)`, ``STRUCT<`A` INTEGER>``); the JSON form
that of `fields[].schema` in DESCRIBE, which leaves out the key type of a MAP. Seen on 7.2, 7.6 and 8.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.columns import SCALARS, Column, SqlType
from pipeline.errors import TypeNotSupported
from pipeline.printable import printable


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
        if base == "DECIMAL":
            self.expect("(")
            precision = self.number()
            self.expect(", ")
            scale = self.number()
            self.expect(")")
            return SqlType(base, precision=precision, scale=scale)
        if base in SCALARS:
            return SqlType(base)
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

    It lacks the key type of a MAP. STRING is assumed, the only one that the JSON and Avro formats allow; the header of
    the query that reads the column corrects it.
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
