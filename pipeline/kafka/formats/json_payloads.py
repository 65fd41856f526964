"""JSON and JSON_SR, at the speed of a typed decoder.

The native engine, where it is built, reads payloads of the usual form. Of the rest, payloads whose values need no
conversion are decoded directly into their types; all others are read by `json_exact`, which follows ksqlDB in every
case. JSON_SR is JSON after five bytes: a zero and the number of a schema, which ksqlDB ignores (KsqlJsonDeserializer,
JsonSerdeUtils.readJsonSR).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, DecimalException, Inexact
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.columns import SqlType
from pipeline.cycles import without_collections
from pipeline.decode.arrays import Arrays, NotHeld, Values
from pipeline.decode.engine import engine
from pipeline.decode.layout import Engine, UsualPayloads
from pipeline.kafka.formats.java import EXACT, double_of
from pipeline.kafka.formats.json_exact import MISSING, coerce, parse
from pipeline.kafka.formats.json_names import Spellings
from pipeline.kafka.formats.payload import Deserialized, Payload, Uncertain, Unreadable

_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DecimalException)
_PREFIX_BYTES = 5
_FEW_ROWS = 32
_MOST_ZEROS = 1000
_MAY_BE_TINY = re.compile(rb"[eE]-[0-9]{3}|0{200}")
"""Matches every text with a number that is not zero and may be too small for a double, and some others."""


class JsonDeserializer:
    """See `Deserializer`. `by` is the engine for payloads of the usual form; results are the same with any engine."""

    def __init__(self, payload: Payload, by: Engine | None = None) -> None:
        self._payload = payload
        self._type = SqlType("STRUCT", fields=payload.columns) if payload.wrapped else payload.columns[0][1]
        self._spellings = Spellings(self._type)
        self._usual = (by or engine()).payload_decoder(self._type, payload.format == "JSON_SR")

    def read(self, payloads: pa.BinaryArray) -> Deserialized:
        usual = self.usual(payloads)
        if usual is None:
            batch = self._others(payloads)
            return self._read(batch.array(), batch.unreadable, batch.no_row, batch.uncertain)
        if not usual.left:
            return self._read(usual.values, {}, usual.missing)
        left = usual.left
        batch = self._others(payloads.take(pa.array(left)))
        places = np.arange(len(payloads))
        places[left] = np.arange(len(payloads), len(payloads) + len(left))
        array = pa.concat_arrays([usual.values, batch.array()]).take(pa.array(places))
        unreadable = {left[at]: reason for at, reason in batch.unreadable.items()}
        return self._read(array, unreadable, usual.missing, {left[at] for at in batch.uncertain})

    def usual(self, payloads: pa.BinaryArray) -> UsualPayloads | None:
        """The payloads that the engine reads."""
        return self._usual.read(payloads) if self._usual else None

    def _others(self, payloads: pa.BinaryArray) -> _Batch:
        return _Batch(self._payload, self._type, self._spellings, payloads.to_pylist())

    def _read(
        self, array: pa.Array, unreadable: Mapping[int, str], no_row: Iterable[int], uncertain: Iterable[int] = ()
    ) -> Deserialized:
        columns = array.flatten() if self._payload.wrapped else [array]
        return Deserialized(tuple(columns), unreadable, frozenset(no_row), frozenset(uncertain))


class _Batch:
    """Payloads while they are read: decoded values, and the reasons of payloads that give no row."""

    def __init__(
        self, payload: Payload, type_: SqlType, spellings: Spellings, payloads: Sequence[bytes | None]
    ) -> None:
        self.unreadable: dict[int, str] = {}
        self.uncertain: set[int] = set()
        self.no_row = {at for at, each in enumerate(payloads) if each is None}
        self._wrapped, self._has_prefix = payload.wrapped, payload.format == "JSON_SR"
        self._type, self._spellings, self._payloads = type_, spellings, payloads
        self._bodies = [self._body(at, each) for at, each in enumerate(payloads)] if self._has_prefix else payloads
        self._rows: list[Any] = [None] * len(payloads)
        self._has_tiny: bool | None = None
        self._arrays = Arrays()

    def array(self) -> pa.Array:
        """All values as an array; values that the fast way cannot read for certain are first read by `json_exact`."""
        with without_collections():
            return self._array()

    def _array(self) -> pa.Array:
        self._decode()
        prepare = _PREPARED if self._spellings.take_all_forms else {"DECIMAL": _decimals}
        self._arrays = Arrays(_columns, {**prepare, "DOUBLE": self._doubles})
        try:
            return self._arrays.array(self._rows, self._type)
        except NotHeld:
            self._settle(0, len(self._rows))
            return self._arrays.array(self._rows, self._type)

    def _body(self, at: int, payload: bytes | None) -> bytes | None:
        if payload is None or (payload[:1] == b"\x00" and len(payload) > _PREFIX_BYTES):
            return payload and payload[_PREFIX_BYTES:]
        has_magic = payload[:1] == b"\x00"
        self.unreadable[at] = "nothing behind the number of its schema" if has_magic else "no magic byte at its start"
        return None

    def _decode(self) -> None:
        first, *others = self._spellings.decoders() or [_refuse]
        for at, body in enumerate(self._bodies):
            if body is None:
                continue
            try:
                self._rows[at] = first(body)
            except _REFUSED:
                self._decode_otherwise(at, body, others)
                first, *others = self._spellings.decoders() or [_refuse]

    def _decode_otherwise(self, at: int, body: bytes, decoders: Sequence[Callable[[bytes], Any]]) -> None:
        for decode in decoders:
            try:
                self._rows[at] = decode(body)
                return
            except _REFUSED:
                continue
        self._read_exactly(at, body)

    def _read_exactly(self, at: int, body: bytes) -> None:
        self._rows[at] = None
        try:
            value = parse(body)
            if value is MISSING and self._has_prefix:
                raise Unreadable("no JSON")
            if value is None and self._wrapped:
                raise Unreadable("a bare null where STRUCT is declared")  # StructToListDeserializer fails for it
            self._rows[at] = coerce(value, self._type)
            self._spellings.learn(value)
        except (Unreadable, RecursionError) as error:
            self.unreadable[at] = str(error) if isinstance(error, Unreadable) else "JSON that is nested too deeply"
            if isinstance(error, Uncertain | RecursionError):
                self.uncertain.add(at)

    def _settle(self, start: int, stop: int) -> None:
        """Halves the range around values that do not become an array; reads the last few rows exactly."""
        try:
            self._arrays.array(self._rows[start:stop], self._type)
        except NotHeld:
            if stop - start > _FEW_ROWS:
                middle = (start + stop) // 2
                self._settle(start, middle)
                self._settle(middle, stop)
                return
            for at in range(start, stop):
                body = self._bodies[at]
                if body is not None and at not in self.unreadable:
                    self._read_exactly(at, body)

    def _doubles(self, values: Values, type_: SqlType) -> pa.Array:
        """For ksqlDB the number -0.0 is 0.0, unless it stands for one too small for a double; texts keep their sign."""
        others = (
            [at for at, value in enumerate(values) if type(value) not in _NUMBERS] if _others(values, "DOUBLE") else []
        )
        numbers = list(values) if others else values
        for at in others:
            numbers[at] = None  # type: ignore[index] # a list, where there are others
        array = pa.array(numbers, pa.float64())
        plain = array.to_numpy(zero_copy_only=False)
        if (np.signbit(plain) & (plain == 0)).any():
            if self._may_have_tiny():
                raise NotHeld("a negative number that may be too small for a double")
            array = pa.array(plain + 0.0, mask=np.asarray(array.is_null()))
        if not others:
            return array
        exact = array.to_pylist()
        for at in others:
            read = _coerced(values[at], type_)
            exact[at] = double_of(read) if isinstance(read, str) else read
        return pa.array(exact, pa.float64())

    def _may_have_tiny(self) -> bool:
        if self._has_tiny is None:
            self._has_tiny = any(body is not None and _MAY_BE_TINY.search(body) for body in self._bodies)
        return self._has_tiny


def _columns(values: Values, count: int) -> Sequence[Values]:
    return [list(map(operator.attrgetter(f"f{place}"), values)) for place in range(count)]


def _refuse(_body: bytes) -> Any:
    raise msgspec.DecodeError("a name that no decoder can have")


_NUMBERS = (float, int, type(None))
_PLAIN: Mapping[str, frozenset[type]] = {
    "BOOLEAN": frozenset({bool}),
    "INTEGER": frozenset({int}),
    "BIGINT": frozenset({int}),
    "DOUBLE": frozenset({float, int}),
    "DECIMAL": frozenset({Decimal}),
    "STRING": frozenset({str}),
    "BYTES": frozenset({bytes}),
    "DATE": frozenset({int}),
    "TIME": frozenset({int}),
    "TIMESTAMP": frozenset({int}),
}
"""The Python types of decoded values that need no conversion."""


def _others(values: Values, base: str) -> set[type]:
    return set(map(type, values)) - _PLAIN[base] - {type(None)}


def _read(values: Values, type_: SqlType) -> Values:
    others = _others(values, type_.base)
    if not others:
        return values
    return [_coerced(value, type_) if type(value) in others else value for value in values]


def _decimals(values: Values, type_: SqlType) -> Values:
    """Decimals with exactly their column's scale: with many more digits pyarrow (26) reads beyond its own tables."""
    others = _others(values, "DECIMAL")
    if others - {int}:
        values = _read(values, type_)
    step = Decimal(1).scaleb(-type_.scale)

    def to_scale(value: Decimal | int) -> Decimal:
        decimal = Decimal(value)
        if not decimal and abs(decimal.adjusted()) > _MOST_ZEROS:
            raise NotHeld("a zero whose exponent may be out of range")
        return decimal.quantize(step, None, EXACT)

    try:
        return [None if value is None else to_scale(value) for value in values]
    except Inexact:
        raise NotHeld("a number with too many digits behind the point") from None


def _coerced(value: Any, type_: SqlType) -> Any:
    try:
        return coerce(value, type_)
    except (Unreadable, RecursionError) as error:
        raise NotHeld(str(error)) from None


_PREPARED: Mapping[str, Callable[[Values, SqlType], Values]] = dict.fromkeys(_PLAIN, _read) | {"DECIMAL": _decimals}
