"""The hash of rows: natively and with numpy as by hand; what must not change it does not, and all else does."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import fingerprint, row_hash
from pipeline.fingerprint import NOTHING, ContentHash, total
from tests import row_hash_by_hand
from tests.arrow_values import batches
from tests.decode.engines import needs_native
from tests.examples import examples

ENGINES = [row_hash.sum_of_rows, pytest.param(fingerprint.sum_of_rows, marks=needs_native)]
UTC_INSTANT = pa.timestamp("us", tz="UTC")


def of(batch: pa.RecordBatch) -> str:
    content = ContentHash()
    content.add_batch(batch)
    return content.hexdigest()


def cell(value: Any, kind: pa.DataType) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([value], kind)], ["c"])


@examples(100)
@given(batches(), st.integers(0, 4), st.integers(0, 5))
def test_the_sum_is_that_of_the_definition(batch: pa.RecordBatch, start: int, count: int) -> None:
    for some in (batch, batch.slice(start, count)):
        assert row_hash.sum_of_rows(some) == row_hash_by_hand.sum_of_rows(some)


@needs_native
@examples(100)
@given(batches(), st.integers(0, 4), st.integers(0, 5))
def test_the_native_sum_is_that_of_the_definition(batch: pa.RecordBatch, start: int, count: int) -> None:
    assert fingerprint._sum_of_rows is fingerprint.sum_of_rows
    for some in (batch, batch.slice(start, count)):
        found = fingerprint._native_rows(*some.__arrow_c_array__())

        assert found is not None
        assert int.from_bytes(found, "big") == row_hash_by_hand.sum_of_rows(some)


def test_more_rows_than_are_hashed_together_have_the_same_sum() -> None:
    count = row_hash._AT_ONCE + 9
    decimals = [Decimal(place * (10**30 if place % 3 else 1)).scaleb(-4) for place in range(count)]
    columns = {
        "text": pa.array([None if place % 5 == 0 else "x" * (place % 300) for place in range(count)]),
        "tags": pa.array([[str(place)] * (place % 9) for place in range(count)]),
        "map": pa.array([[("k", place)] * (place % 4) for place in range(count)], pa.map_(pa.string(), pa.int64())),
        "amount": pa.array(decimals, pa.decimal128(38, 4)),
    }
    batch = pa.RecordBatch.from_pydict(columns)

    for some in (batch, batch.slice(7)):
        assert row_hash.sum_of_rows(some) == row_hash_by_hand.sum_of_rows(some)


def test_joined_batches_have_all_rows_and_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_hash, "_AT_ONCE", 10)
    monkeypatch.setattr(row_hash, "_AT_ONCE_BYTES", 200)
    texts = pa.array([f"number {n}" for n in range(20)])
    parts = [pa.RecordBatch.from_arrays([texts.slice(0, size)], ["c"]) for size in (4, 6, 1, 0, 12, 9)]
    parts.append(pa.RecordBatch.from_pydict({"c": ["x" * 100]}))

    found = list(row_hash.joined(parts))

    assert [batch.num_rows for batch in found] == [10, 1, 12, 9, 1]
    assert pa.Table.from_batches(found) == pa.Table.from_batches(parts)
    assert list(row_hash.joined([])) == []


@pytest.mark.parametrize("sum_of_rows", ENGINES)
def test_the_definition_stays_what_it_is(sum_of_rows: Any) -> None:
    """Files of the lake have these sums in their names."""
    kind = pa.struct([("x", pa.int32()), ("y", pa.list_(pa.field("element", pa.binary())))])
    columns = {
        "n": pa.array([1, None], pa.int64()),
        "b": pa.array([True, False]),
        "d": pa.array([1.5, float("nan")]),
        "m": pa.array([Decimal("1.50"), Decimal("-0.07")], pa.decimal128(12, 2)),
        "t": pa.array(["é", ""]),
        "day": pa.array([dt.date(2026, 11, 20), None], pa.date32()),
        "at": pa.array([0, 1], pa.int64()).view(UTC_INSTANT),
        "s": pa.array([{"x": 1, "y": [b"\0", None]}, {"x": None, "y": None}], kind),
        "map": pa.array([[("k", 1.0), ("j", None)], []], pa.map_(pa.string(), pa.float64())),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

    assert f"{sum_of_rows(batch):032x}" == "8920c9a0b49222d5f4078f0ea5d2128d"
    assert f"{sum_of_rows(batch[:0]):032x}" == NOTHING


@examples(40)
@given(batches(), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_of_columns_counts_nor_columns_of_null(
    batch: pa.RecordBatch, chance: Any
) -> None:
    rows, names = list(range(batch.num_rows)), list(batch.schema.names)
    chance.shuffle(rows)
    chance.shuffle(names)
    moved = pa.concat_batches([batch.slice(row, 1) for row in rows]).select(names)
    wider = moved.append_column("new", pa.nulls(batch.num_rows, pa.struct([("x", pa.string())])))

    assert of(wider) == of(batch)


def test_a_wider_type_and_the_order_of_a_map_change_nothing() -> None:
    assert of(cell(-7, pa.int16())) == of(cell(-7, pa.int32())) == of(cell(-7, pa.int64()))
    for text in ("1.5", "-1.50", "0", "100", "-99999999"):
        number = Decimal(text)
        assert of(cell(number, pa.decimal128(10, 2))) == of(cell(number, pa.decimal128(38, 20)))
    kind = pa.map_(pa.string(), pa.int32())
    assert of(cell([("a", 1), ("b", 2)], kind)) == of(cell([("b", 2), ("a", 1)], kind))
    assert of(cell([("a", 1), ("b", 2)], kind)) != of(cell([("a", 2), ("b", 1)], kind))


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (pa.float64(), 0.0, -0.0),
        (pa.float64(), 0.0, None),
        (pa.float64(), float("nan"), None),
        (pa.float64(), float("nan"), float("inf")),
        (pa.string(), "", None),
        (pa.string(), "é", "e\u0301"),
        (pa.string(), "a", "a "),
        (pa.decimal128(10, 2), Decimal("1.50"), Decimal("15.00")),
        (pa.decimal128(10, 2), Decimal("0"), None),
        (pa.decimal128(38, 0), Decimal(10**37), Decimal(10**36)),
        (pa.bool_(), False, None),
        (pa.list_(pa.string()), [], None),
        (pa.list_(pa.string()), [], [None]),
        (pa.list_(pa.string()), ["a", "b"], ["b", "a"]),
        (pa.list_(pa.string()), ["ab", ""], ["a", "b"]),
        (pa.list_(pa.list_(pa.string())), [["a"], []], [[], ["a"]]),
        (pa.struct([("x", pa.int32()), ("y", pa.int32())]), {"x": 1, "y": None}, {"x": None, "y": 1}),
        (pa.struct([("x", pa.int32())]), {"x": None}, None),
        (pa.map_(pa.string(), pa.string()), [("k", None)], []),
        (pa.map_(pa.string(), pa.string()), [("k", None)], [("k", "")]),
        (pa.map_(pa.string(), pa.string()), [("a", "b")], [("b", "a")]),
    ],
    ids=str,
)
def test_values_that_are_easily_confused_have_different_hashes(kind: pa.DataType, one: Any, other: Any) -> None:
    assert of(cell(one, kind)) != of(cell(other, kind))


def test_values_that_change_rows_or_columns_change_the_sum() -> None:
    rows = pa.RecordBatch.from_pydict({"a": ["1", "2"], "b": ["3", "4"]})
    mixed = pa.RecordBatch.from_pydict({"a": ["1", "2"], "b": ["4", "3"]})
    swapped = pa.RecordBatch.from_pydict({"a": ["3", "2"], "b": ["1", "4"]})

    assert len({of(rows), of(mixed), of(swapped)}) == 3


def test_a_row_that_is_there_twice_counts_twice() -> None:
    rows = pa.RecordBatch.from_pydict({"a": ["1", None]})

    assert total([of(rows), of(rows)]) == of(pa.concat_batches([rows, rows])) != of(rows)
    assert total([of(rows)], [of(rows[:1])]) == of(rows[1:]) != NOTHING
    assert total([of(rows), ""], [of(rows)]) == NOTHING


def test_types_that_the_lake_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="have no hash"):
        of(cell(1, pa.uint8()))


@needs_native
def test_a_layout_that_the_native_code_does_not_know_is_hashed_by_the_definition() -> None:
    with pytest.raises(ValueError, match="no capsules"):
        fingerprint._native_rows(*reversed(cell(1, pa.int32()).__arrow_c_array__()))
    assert fingerprint._native_rows(*cell(1, pa.uint8()).__arrow_c_array__()) is None
