"""Values as text: exact, whatever Python's own types can hold."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.exact_text import FarMoment, texts_of, to_json, values_of

DAY_US = 86_400_000_000
DAYS = [0, -719_162, 2_932_896, None, -719_163, -719_528, -719_529, 2_932_897, 3_663_382, 2**31 - 1]
TEXTS = ["1970-01-01", "0001-01-01", "9999-12-31", None, "+0000-12-31", "+0000-01-01", "-0001-12-31", "+10000-01-01",
         "+12000-01-01", "+5881580-07-11"]  # fmt: skip
PLACES = [
    lambda days: days,
    lambda days: pa.StructArray.from_arrays([days], ["d"]),
    lambda days: pa.ListArray.from_arrays(pa.array([*range(len(days)), len(days)], pa.int32()), days),
    lambda days: pa.MapArray.from_arrays(
        pa.array([*range(len(days)), len(days)], pa.int32()), pa.array(["k"] * len(days)), days
    ),
]


def inner(value: Any) -> Any:
    if isinstance(value, dict):
        (value,) = value.values()
    return value[0] if isinstance(value, list) else value


@pytest.mark.parametrize("place", PLACES)
def test_dates_that_python_cannot_hold_are_text_at_every_depth(place: Any) -> None:
    values = [inner(value) for value in values_of(place(pa.array(DAYS, pa.int32()).view(pa.date32())))]

    assert [None if value is None else str(value) for value in values] == TEXTS
    assert [type(value) for value in values[:5]] == [dt.date, dt.date, dt.date, type(None), FarMoment]


@pytest.mark.parametrize("place", PLACES)
def test_instants_that_python_cannot_hold_are_text_at_every_depth(place: Any) -> None:
    instants = pa.array([None if day is None else day * DAY_US + 1000 for day in DAYS[:-1]], pa.int64())
    values = [inner(value) for value in values_of(place(instants.view(pa.timestamp("us", "UTC"))))]

    texts = [json.loads(to_json(value)) for value in values]
    assert texts == [None if text is None else f"{text}T00:00:00.001000Z" for text in TEXTS[:-1]]


@pytest.mark.parametrize(
    ("kind", "key", "text"),
    [
        (pa.bool_(), True, "true"),
        (pa.int64(), 2**62, str(2**62)),
        (pa.decimal128(30, 20), Decimal("1E-20"), "0.00000000000000000001"),
        (pa.float64(), 1e16, "1e+16"),
        (pa.float64(), float("-inf"), "-inf"),
        (pa.string(), 'a"b', 'a"b'),
    ],
)
def test_keys_that_are_no_text_are_the_text_of_their_json(kind: pa.DataType, key: Any, text: str) -> None:
    (shown,) = texts_of(pa.array([[(key, None)]], pa.map_(kind, pa.int32()))).to_pylist()

    assert json.loads(shown) == {text: None}


def test_keys_that_are_one_for_python_stay_two() -> None:
    maps = pa.array([[(0.0, 1), (-0.0, 2)], None, [(1.5, 3)]], pa.map_(pa.float64(), pa.int32()))

    assert texts_of(maps).to_pylist() == ['{"-0.0": 2, "0.0": 1}', None, '{"1.5": 3}']
    inside = pa.array([{"m": [(0.0, 1), (-0.0, 2)]}, None], pa.struct([("m", maps.type)]))
    assert texts_of(inside).to_pylist() == ['{"m": {"-0.0": 2, "0.0": 1}}', None]
