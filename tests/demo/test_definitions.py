"""The demo's definitions, fed with the recorded events, give the rows that the real server answered with."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from demo.definitions import Pipeline, build
from demo.events import CITIES, Event, generate
from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.values import encode, to_json
from tests.vectors import exchanges, load_lines, needs_vectors

STREAMS = (
    "TRANSACTION_STREAM",
    "TRANSACTION_FLATTENED",
    "TRANSACTION_STREAM_ANONYMIZED",
    "TRANSACTION_STREAM_BLACKLISTED",
)
TABLES = (
    "USER_TRANSACTION_SUMMARY",
    "USER_TRANSACTION_SUMMARY_EUR",
    "PAYMENT_METHOD_TOTALS",
    "PRODUCT_PURCHASE_COUNTS",
)


@cache
def by_recorded_events() -> Dataset:
    names = ("topic", "partition", "offset", "timestamp", "key", "value")
    return build(Event(*(event[name] for name in names)) for event in load_lines("recorded/events.jsonl"))


@needs_vectors
@pytest.mark.parametrize("name", STREAMS)
def test_stream_equals_the_recorded_one(name: str) -> None:
    source = by_recorded_events().source(name)
    mine = Counter(
        (record.rowtime, *(encode(record.values[column.name], column.type) for column in source.columns))
        for record in source.records
        if record.values is not None
    )

    assert mine == _recorded_rows(f"stream pull {name}, v1+json", source.columns, 1)


@needs_vectors
@pytest.mark.parametrize("name", TABLES)
def test_table_equals_the_recorded_one(name: str) -> None:
    source = by_recorded_events().source(name)
    # Which rate is the latest depends on the order in which the server read the partitions: it differed by run.
    columns = tuple(column for column in source.columns if (name, column.name) not in _UNSTABLE)
    newest: dict[str, Any] = {}
    for record in source.records:
        assert record.values is not None
        newest[repr([record.values[key] for key in source.keys])] = record.values
    mine = Counter(tuple(encode(row[column.name], column.type) for column in columns) for row in newest.values())

    recorded = _recorded_rows(f"pull {name}, v1+json", source.columns, 0)
    places = [index for index, column in enumerate(source.columns) if column in columns]
    assert mine == Counter({tuple(row[place] for place in places): count for row, count in recorded.items()})


_UNSTABLE = {("USER_TRANSACTION_SUMMARY_EUR", "EXCHANGE_RATE")}


def _recorded_rows(exchange: str, columns: Any, leading: int) -> Counter[tuple[Any, ...]]:
    """Rows as JSON texts, one a column, after `leading` numbers."""
    rows: Counter[tuple[Any, ...]] = Counter()
    for line in exchanges()[exchange]["response"]["body"].split("\n")[1:]:
        element = json.loads(line.rstrip(",").removesuffix("]") if line.endswith("}]") else line.rstrip(","))
        if "row" in element:
            raw = json.loads(line[line.index("[") : line.rindex("]", 0, line.rindex("}}")) + 1], parse_float=_Raw)
            assert len(raw) == leading + len(columns)
            texts = (_compact(value) for value in raw[leading:])
            rows[(*raw[:leading], *texts)] += 1
    return rows


class _Raw(str):
    """A number as it was written."""


def _compact(value: Any) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_compact(key)}:{_compact(item)}" for key, item in value.items()) + "}"
    return to_json(value)


def test_three_events_give_the_rows_that_the_statements_say() -> None:
    """Worked out by hand: a refund in dollars, a purchase from a blacklisted city, one in a currency without a rate."""
    user = {"USER_ID": "u1", "NAME": "Zoë", "EMAIL": "z@example.com", "COUNTRY": "FR", "CITY": "Paris"}
    lamp = {"PRODUCT_ID": "p1", "NAME": "Lamp", "CATEGORY": "home", "UNIT_PRICE": 10.05, "QUANTITY": 3}
    common = {"USER": user, "TRANSACTION_TYPE": "purchase", "PAYMENT_METHOD": "card", "TAGS": None}
    bodies: list[dict[str, Any]] = [
        {"TRANSACTION_TYPE": "refund", "AMOUNT": -10.01, "CURRENCY": "USD", "PRODUCTS": None},
        {"USER": user | {"CITY": "Lagos"}, "AMOUNT": 30.15, "CURRENCY": "EUR", "PRODUCTS": [lamp]},
        {"AMOUNT": 7.01, "CURRENCY": "CHF", "PRODUCTS": [lamp | {"QUANTITY": 1}, None], "PAYMENT_METHOD": None},
    ]
    given = [("exchange_rates", "USD", {"EUR_RATE": 0.5}), ("exchange_rates", "EUR", {"EUR_RATE": 1})]
    given += [("blacklisted_cities", "Lagos", {"REASON": "fraud"})]
    given += [("transactions", f"t{n}", common | body | {"EVENT_TIME": 1000 + n}) for n, body in enumerate(bodies)]

    dataset = build(Event(topic, 0, n, 5, key, json.dumps(body)) for n, (topic, key, body) in enumerate(given))

    def column(source: str, *names: str) -> list[tuple[Any, ...]]:
        return [tuple((r.values or {})[name] for name in names) for r in dataset.source(source).records]

    assert column("TRANSACTION_FLATTENED", "TRANSACTION_ID", "USER_CITY", "PRODUCT_COUNT") == [
        ("t0", "Paris", None), ("t1", "Lagos", 1), ("t2", "Paris", 2),
    ]  # fmt: skip
    assert column("TRANSACTION_STREAM_BLACKLISTED", "TRANSACTION_ID", "REASON") == [("t1", "fraud")]
    in_eur = [("t0", Decimal("-5.01")), ("t1", Decimal("30.15")), ("t2", None)]  # half a cent is rounded away from zero
    assert column("TRANSACTION_STREAM_ANONYMIZED", "TRANSACTION_ID", "AMOUNT_EUR") == in_eur
    assert {row[0] for row in column("TRANSACTION_STREAM_ANONYMIZED", "USER_HASH")} == {
        "e4774cdda0793f86414e8b9140bb6db4"  # MD5 of u1
    }
    assert column("PAYMENT_METHOD_TOTALS", "PAYMENT_METHOD", "TOTAL_AMOUNT", "TRANSACTION_COUNT", "AVG_AMOUNT") == [
        ("card", Decimal("-10.01"), 1, Decimal("-10.0100")), ("card", Decimal("20.14"), 2, Decimal("10.0700")),
        ("unknown", Decimal("7.01"), 1, Decimal("7.0100")),
    ]  # fmt: skip
    assert column("USER_TRANSACTION_SUMMARY", "TRANSACTION_TYPE", "TOTAL_AMOUNT", "MIN_AMOUNT", "USER_CITY")[1:] == [
        ("purchase", Decimal("30.15"), Decimal("30.15"), "Lagos"),
        ("purchase", Decimal("37.16"), Decimal("7.01"), "Paris"),
    ]
    assert column("PRODUCT_PURCHASE_COUNTS", "PURCHASE_COUNT", "TOTAL_REVENUE", "AVG_PRICE", "UNIQUE_BUYERS") == [
        (3, Decimal("30.15"), Decimal("10.0500"), 1), (4, Decimal("40.20"), Decimal("10.0500"), 1),
    ]  # fmt: skip
    assert column("USER_TRANSACTION_SUMMARY_EUR", "TRANSACTION_TYPE", "TOTAL_AMOUNT_EUR", "EXCHANGE_RATE") == [
        ("refund", Decimal("-5.01"), Decimal("0.50000000")), ("purchase", Decimal("30.15"), Decimal("1.00000000")),
    ]  # fmt: skip


@cache
def small_demo() -> Dataset:
    return build(generate(600, dt.date(2026, 11, 20), seed=3))


def test_same_seed_gives_the_same_events() -> None:
    day = dt.date(2026, 11, 20)
    assert list(generate(200, day, seed=3)) == list(generate(200, day, seed=3))
    assert list(generate(200, day, seed=3)) != list(generate(200, day, seed=4))


def test_events_show_every_kind_of_trouble() -> None:
    rows = [record.values for record in small_demo().source("TRANSACTION_STREAM").records]
    good = [row for row in rows if row is not None]
    times = [row["EVENT_TIME"] for row in good]

    assert rows.count(None) == 2
    assert times != sorted(times)
    assert len({time // 86_400_000 for time in times}) >= 14
    assert {record.partition for record in small_demo().source("TRANSACTION_STREAM").records} == {0, 1, 2}
    assert any(row["AMOUNT"] < 0 for row in good)
    assert any(row["CURRENCY"] == "CHF" for row in good)
    assert any(row["PAYMENT_METHOD"] == "crypto" for row in good)
    assert {row["USER"]["CITY"] for row in good} >= set(CITIES)
    for column in ("PAYMENT_METHOD", "PRODUCTS", "TAGS"):
        assert any(row[column] is None for row in good), column
    assert any(row["PRODUCTS"] == [] for row in good)
    assert any(row["USER"]["NAME"] is None for row in good)


def test_increments_are_what_the_data_set_grows_by() -> None:
    pipeline = Pipeline()
    counted: Counter[str] = Counter()
    for event in generate(100, dt.date(2026, 11, 20)):
        counted.update({name: len(records) for name, records in pipeline.add(event).items()})

    assert counted == Counter({s.name: len(s.records) for s in pipeline.dataset().sources})


def test_anonymized_stream_holds_no_personal_data() -> None:
    dataset = small_demo()
    text = repr([record.values for record in dataset.source("TRANSACTION_STREAM_ANONYMIZED").records])

    assert "@example.com" not in text
    assert "u0001" not in text


def test_data_set_survives_its_file(tmp_path: Any) -> None:
    dataset = small_demo()
    dataset.save(tmp_path / "data.json")

    assert Dataset.load(tmp_path / "data.json") == dataset
