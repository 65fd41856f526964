"""Arrow batches of every type of the lake, nested ones too, for hypothesis: values that are confused, and NULL."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

_NAMES = ("a", "B_2", "größe", "dot.ted", 'quo"ted', "c", "id")
_DOUBLES = st.sampled_from((0.0, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324)) | st.floats()
_TEXTS = st.sampled_from(("", "\0", "\\N", "é", "e\u0301", "\U0010ffff")) | st.text(max_size=20) | st.just("x" * 300)
_INTEGERS = {pa.int32(): 32, pa.int64(): 64, pa.date32(): 32, pa.timestamp("us", tz="UTC"): 64}
SCALARS = (pa.bool_(), pa.float64(), pa.string(), pa.binary(), *_INTEGERS)


def decimals() -> st.SearchStrategy[pa.DataType]:
    return st.integers(1, 38).flatmap(lambda p: st.builds(pa.decimal128, st.just(p), st.integers(0, p)))


def types(depth: int = 2) -> st.SearchStrategy[pa.DataType]:
    scalar = st.sampled_from(SCALARS) | decimals()
    if depth == 0:
        return scalar
    inner = types(depth - 1)
    fields = st.lists(st.tuples(st.sampled_from(_NAMES), inner), min_size=1, max_size=3, unique_by=lambda it: it[0])
    lists = inner.map(lambda item: pa.list_(pa.field("element", item)))
    return scalar | lists | st.builds(pa.map_, scalar, inner) | fields.map(pa.struct)


def arrays(kind: pa.DataType, count: int, has_nulls: bool = True) -> st.SearchStrategy[pa.Array]:
    """Arrays of so many values. Integers, dates and instants are made of their bits: Python cannot hold all of them."""
    mask = st.lists(st.booleans() if has_nulls else st.just(False), min_size=count, max_size=count)
    if pa.types.is_struct(kind):
        parts = st.tuples(*(arrays(field.type, count) for field in kind))
        return st.builds(lambda found, nulls: _struct(kind, found, nulls), parts, mask)
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        return st.lists(st.integers(0, 3), min_size=count, max_size=count).flatmap(lambda n: _lists(kind, n, mask))
    value = values(kind)
    plain = st.lists(value, min_size=count, max_size=count)
    return st.builds(lambda found, nulls: _plain(kind, found, nulls), plain, mask)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if kind in _INTEGERS:
        most = 2 ** (_INTEGERS[kind] - 1)
        return st.sampled_from((0, -1, most - 1, -most)) | st.integers(-most, most - 1)
    if pa.types.is_decimal(kind):
        most = 10**kind.precision - 1
        numbers = st.sampled_from((0, 1, most, -most, 10 ** (kind.precision - 1))) | st.integers(-most, most)
        return numbers.map(lambda number: Decimal(number).scaleb(-kind.scale, Context(prec=76)))
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_float64(kind):
        return _DOUBLES
    return _TEXTS if pa.types.is_string(kind) else st.binary(max_size=20)


def batches(count: int = 5) -> st.SearchStrategy[pa.RecordBatch]:
    """Batches of so many rows."""
    names = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True)
    columns = names.flatmap(lambda found: st.tuples(*(st.tuples(st.just(name), types()) for name in found)))
    return columns.flatmap(
        lambda found: st.tuples(*(arrays(kind, count) for _, kind in found)).map(
            lambda made: pa.RecordBatch.from_arrays(list(made), names=[name for name, _ in found])
        )
    )


def _plain(kind: pa.DataType, found: list[Any], nulls: list[bool]) -> pa.Array:
    shown = [None if is_null else value for value, is_null in zip(found, nulls, strict=True)]
    if kind in _INTEGERS:
        return pa.array(shown, pa.int32() if _INTEGERS[kind] == 32 else pa.int64()).view(kind)
    return pa.array(shown, kind)


def _struct(kind: pa.DataType, found: tuple[pa.Array, ...], nulls: list[bool]) -> pa.Array:
    return pa.StructArray.from_arrays(list(found), fields=list(kind), mask=pa.array(nulls, pa.bool_()))


def _lists(kind: pa.DataType, counts: list[int], mask: st.SearchStrategy[list[bool]]) -> st.SearchStrategy[pa.Array]:
    ends = [0]
    for count in counts:
        ends.append(ends[-1] + count)
    if pa.types.is_map(kind):
        parts = st.tuples(arrays(kind.key_type, ends[-1], has_nulls=False), arrays(kind.item_type, ends[-1]))
    else:
        parts = st.tuples(arrays(kind.value_type, ends[-1]))

    def made(found: tuple[pa.Array, ...], nulls: list[bool]) -> pa.Array:
        places = pa.array(
            [None if is_null else at for at, is_null in zip(ends, [*nulls, False], strict=True)], pa.int32()
        )
        cls = pa.MapArray if pa.types.is_map(kind) else pa.ListArray
        return cls.from_arrays(places, *found, type=kind)

    return st.builds(made, parts, mask)
