"""Converts values of AVRO and PROTOBUF as ksqlDB does: through the types of Kafka Connect.

A format describes its schema as a `ConnectType`, whose functions access its values; `translation` combines it with the
declared type into the function that reads a value. Facts, from ksqlDB's ConnectDataTranslator and ConnectSchemas and
Connect's Struct and logical types:
- A field is found by its exact name, else by its name in upper case; of several fields for one column the last counts,
  and Connect's default replaces NULL in a field that has one. Fields that are not declared are ignored.
- Whole numbers widen, FLOAT32 becomes a double, STRING takes whole numbers and booleans. A type that does not fit is an
  error when a value is reached, even NULL; inside an array or map without elements it is not.
- INTEGER, DATE and TIME read any INT32 as their own kind of number, BIGINT and TIMESTAMP also any INT64, whatever its
  logical type: microseconds in a TIMESTAMP are read as milliseconds.
- A DECIMAL must fit without a digit lost.
STRING from floating point is refused: which digits Java writes depends on its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.columns import SqlType
from pipeline.kafka.formats.held import held_date, held_time, held_timestamp
from pipeline.kafka.formats.java import fit
from pipeline.kafka.formats.payload import Uncertain, Unreadable

Convert = Callable[[Any], Any]
UNION = "a union of several types"
_FLOATS = ("FLOAT32", "FLOAT64")
_INT32 = ("INT8", "INT16", "INT32")
_TAKEN: Mapping[str, tuple[str, ...]] = {
    "BOOLEAN": ("BOOLEAN",),
    "INTEGER": _INT32,
    "DATE": _INT32,
    "TIME": _INT32,
    "BIGINT": (*_INT32, "INT64"),
    "TIMESTAMP": (*_INT32, "INT64"),
    "DOUBLE": _FLOATS,
    "STRING": (*_INT32, "INT64", "BOOLEAN", "STRING"),
    "DECIMAL": ("BYTES", "DECIMAL"),
    "BYTES": ("BYTES", "DECIMAL"),
    "ARRAY": ("ARRAY",),
    "MAP": ("MAP",),
    "STRUCT": ("STRUCT",),
}


@dataclass(frozen=True)
class ConnectField:
    """A field of a STRUCT: `get` takes the struct's raw value and returns the field's, or None."""

    name: str
    type: ConnectType
    get: Convert


@dataclass(frozen=True)
class ConnectType:
    """A type of Connect, and how a format's raw values are converted to it.

    `kind` is Connect's name; DECIMAL stands for BYTES with that logical type. `read` converts a raw value to an int,
    float, Decimal, str, bytes or bool, an ARRAY to a list, a MAP to pairs, and may raise Unreadable; it is None where
    no conversion is needed. `fields()` is called only where a STRUCT is declared, so that a type may contain itself.
    """

    kind: str
    read: Convert | None = None
    element: ConnectType | None = None
    key: ConnectType | None = None
    fields: Callable[[], Iterable[ConnectField]] = tuple


def translation(connect: ConnectType, declared: SqlType) -> Convert:
    """A function that converts a raw value or None to the form for `arrays`; it raises Unreadable with the path."""
    if connect.kind not in _TAKEN[declared.base]:
        is_uncertain = connect.kind == UNION or (connect.kind in _FLOATS and declared.base == "STRING")
        return _refusal(f"{connect.kind} where {declared.base} is declared", Uncertain if is_uncertain else Unreadable)
    if declared.base == "ARRAY":
        return _array(connect, declared)
    if declared.base == "MAP":
        return _map(connect, declared)
    if declared.base == "STRUCT":
        return _struct(connect, declared)
    return _scalar(connect, declared)


def _refusal(reason: str, error: type[Unreadable] = Unreadable) -> Convert:
    def refuse(_raw: Any) -> Any:
        raise error(reason)

    return refuse


def _scalar(connect: ConnectType, declared: SqlType) -> Convert:
    read, finish = connect.read, _finish(connect, declared)

    def convert(raw: Any) -> Any:
        if raw is None:
            return None
        value = raw if read is None else read(raw)
        return value if finish is None else finish(value)

    return convert


def _finish(connect: ConnectType, declared: SqlType) -> Convert | None:
    if declared.base in _HELD:
        return _HELD[declared.base]
    if declared.base == "STRING" and connect.kind != "STRING":
        return _text
    if declared.base in ("DECIMAL", "BYTES") and (connect.kind == "DECIMAL") != (declared.base == "DECIMAL"):
        return _refusal(f"{connect.kind} where {declared.base} is declared")  # called for values only, not for NULL
    if declared.base == "DECIMAL":
        return lambda value: fit(value, declared.precision, declared.scale)
    return None


def _text(value: int | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


_HELD: Mapping[str, Callable[[int], int]] = {"DATE": held_date, "TIME": held_time, "TIMESTAMP": held_timestamp}


def _array(connect: ConnectType, declared: SqlType) -> Convert:
    assert connect.element and declared.element
    read, convert = connect.read or list, translation(connect.element, declared.element)

    def convert_each(raw: Any) -> Any:
        return None if raw is None else [_at("[]", convert, item) for item in read(raw)]

    return convert_each


def _map(connect: ConnectType, declared: SqlType) -> Convert:
    assert connect.key and connect.element and declared.key and declared.element
    read = connect.read or dict.items
    convert_key = translation(connect.key, declared.key)
    convert = translation(connect.element, declared.element)

    def convert_pairs(raw: Any) -> Any:
        if raw is None:
            return None
        pairs = {_at(".key", convert_key, key): _at("{}", convert, item) for key, item in read(raw)}
        if None in pairs:
            raise Uncertain("a MAP with a NULL among its keys, which the lake cannot hold")
        return pairs

    return convert_pairs


def _struct(connect: ConnectType, declared: SqlType) -> Convert:
    places = {name: place for place, (name, _) in enumerate(declared.fields)}
    found: list[tuple[int, str, Convert, Convert]] = []
    for field in connect.fields():
        place = places.get(field.name, places.get(field.name.upper()))
        if place is not None:
            name, inner = declared.fields[place]
            found.append((place, name, field.get, translation(field.type, inner)))
    count = len(declared.fields)

    def convert_fields(raw: Any) -> Any:
        if raw is None:
            return None
        row = [None] * count
        for place, name, get, convert in found:
            try:
                row[place] = convert(get(raw))
            except Unreadable as error:
                raise error.inside(name) from None
        return row

    return convert_fields


def _at(step: str, convert: Convert, raw: Any) -> Any:
    try:
        return convert(raw)
    except Unreadable as error:
        raise error.inside(step) from None
