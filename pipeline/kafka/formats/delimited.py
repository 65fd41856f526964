"""DELIMITED: one line of values with a delimiter between them.

Facts, from ksqlDB's KsqlDelimitedDeserializer and the CSV library that it uses with its default format (Apache Commons
CSV, Lexer): a quoted value may contain delimiters and line ends, and a doubled quote for a quote; blanks after its last
quote are ignored; elsewhere quotes and blanks are part of the value. Empty lines at the beginning are ignored; only the
next line counts, though later lines must be well formed. An empty value is NULL, quoted or not. There must be as many
values as columns. Values are what Java parses: BOOLEAN is true for `true` in any case and false for all else, DATE is
days, TIME and TIMESTAMP milliseconds, BYTES base64 (read here only with its padding). There is no form for ARRAY, MAP
and STRUCT.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.columns import SqlType
from pipeline.decode.arrays import Arrays
from pipeline.errors import TypeNotSupported
from pipeline.kafka.formats.held import held_date, held_time, held_timestamp
from pipeline.kafka.formats.java import decimal_of, double_of, fit, integer_of
from pipeline.kafka.formats.payload import Deserialized, Payload, Uncertain, Unreadable, places_without

_BLANKS = " \t\x0b\x0c\x1c\x1d\x1e\x1f"
_UNPADDED = re.compile("[A-Za-z0-9+/]+")
_LINE_END = re.compile(r"[\r\n]")
_WORDS_FOR_DELIMITERS = {"SPACE": " ", "TAB": "\t"}


class DelimitedDeserializer:
    """See `Deserializer`. Raises TypeNotSupported for a type that the format does not have."""

    def __init__(self, payload: Payload) -> None:
        self._types = [type_ for _, type_ in payload.columns]
        for name, type_ in payload.columns:
            if type_.base not in _READ:
                raise TypeNotSupported(
                    f"column {name}: DELIMITED cannot hold {type_}",
                    "report this with the statement that made the stream or table",
                )
        self._names = [name for name, _ in payload.columns]
        self._delimiter = _WORDS_FOR_DELIMITERS.get(payload.delimiter.upper(), payload.delimiter)
        blanks = re.escape(_BLANKS.replace(self._delimiter, ""))
        self._quoted = re.compile(f'"((?:[^"]|"")*+)"[{blanks}]*')
        self._unquoted = re.compile(f"[^{re.escape(self._delimiter)}\r\n]*")

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        unreadable, uncertain = dict[int, str](), set[int]()
        rows = list[Sequence[Any]]()
        nulls = [None] * len(self._types)
        for at, payload in enumerate(payloads.to_pylist()):
            try:
                rows.append(nulls if payload is None else self._row(payload))
            except Unreadable as error:
                unreadable[at] = str(error)
                if isinstance(error, Uncertain):
                    uncertain.add(at)
                rows.append(nulls)
        columns = list(zip(*rows, strict=True)) or [()] * len(self._types)
        arrays = tuple(Arrays().array(values, type_) for values, type_ in zip(columns, self._types, strict=True))
        return Deserialized(arrays, unreadable, places_without(payloads), uncertain)

    def _row(self, payload: bytes) -> list[Any]:
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            raise Uncertain("no UTF-8") from None
        texts = self._first_line(text)
        if len(texts) != len(self._types):
            raise Unreadable(f"{len(texts)} values for {len(self._types)} columns")
        return [self._value(place, text) for place, text in enumerate(texts)]

    def _value(self, place: int, text: str) -> Any:
        type_ = self._types[place]
        try:
            return _READ[type_.base](text, type_) if text else None
        except Unreadable as error:
            raise type(error)(f"{self._names[place]}: {error}") from None

    def _first_line(self, text: str) -> list[str]:
        """The values of the first line. Raises Unreadable if any line is not well formed."""
        text = text.lstrip("\r\n")
        if not text:
            raise Unreadable("no values")
        if '"' not in text:
            return _LINE_END.split(text, 1)[0].split(self._delimiter)
        first = list[str]()
        texts, at = first, 0
        while True:
            quoted = text.startswith('"', at)
            match = (self._quoted if quoted else self._unquoted).match(text, at)
            if match is None:
                raise Unreadable("a quote without its end")
            texts.append(match[1].replace('""', '"') if quoted else match[0])
            at = match.end()
            if at == len(text):
                return first
            if text.startswith(self._delimiter, at):
                at += len(self._delimiter)
            elif text[at] in "\r\n":
                at += 1  # an empty line does no harm here: only the first line is returned
                texts = []
            else:
                raise Unreadable("text behind a quote's end")


def _boolean(text: str, _type: SqlType) -> bool:
    return text.lower() == "true"


def _bytes(text: str, _type: SqlType) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        may_lack_padding = _UNPADDED.fullmatch(text) is not None
        raise (Uncertain if may_lack_padding else Unreadable)("a text that is no base64") from None


_READ: Mapping[str, Callable[[str, SqlType], Any]] = {
    "BOOLEAN": _boolean,
    "INTEGER": lambda text, _: integer_of(text, 32),
    "BIGINT": lambda text, _: integer_of(text, 64),
    "DOUBLE": lambda text, _: double_of(text),
    "DECIMAL": lambda text, type_: fit(decimal_of(text), type_.precision, type_.scale),
    "STRING": lambda text, _: text,
    "BYTES": _bytes,
    "DATE": lambda text, _: held_date(integer_of(text, 64)),
    "TIME": lambda text, _: held_time(integer_of(text, 64)),
    "TIMESTAMP": lambda text, _: held_timestamp(integer_of(text, 64)),
}
