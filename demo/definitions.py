"""The pipeline's definitions in exact arithmetic: from events to the records of every stream and table.

They follow `pipeline.sql`, so that the emulator can serve what a real server would compute. Sums and products are
decimals; AVG is computed in doubles as in the statements; casts round half up; NULLs in aggregates are skipped. Records
of derived streams stay in their order of arrival; their key decides their partition.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from demo.aggregates import AGGREGATES, EXACT, Group, Row, rounded
from demo.events import Event
from demo.statements import Statement, load_statements
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source, from_json
from ksqldb_emulator.sqltypes import parse_type

_PRODUCT = (
    "STRUCT<`PRODUCT_ID` STRING, `NAME` STRING, `CATEGORY` STRING, `UNIT_PRICE` DECIMAL(10, 2), `QUANTITY` INTEGER>"
)
_USER = "STRUCT<`USER_ID` STRING, `NAME` STRING, `EMAIL` STRING, `COUNTRY` STRING, `CITY` STRING>"
_PERSON = "USER_NAME STRING, USER_EMAIL STRING, USER_COUNTRY STRING, USER_CITY STRING"

# Columns as DESCRIBE shows them: the first is the key; `KEY` marks further ones.
SCHEMAS = {
    "TRANSACTION_STREAM": f"TRANSACTION_ID STRING, USER {_USER}, TRANSACTION_TYPE STRING, AMOUNT DECIMAL(12, 2), "
    f"CURRENCY STRING, PAYMENT_METHOD STRING, PRODUCTS ARRAY<{_PRODUCT}>, TAGS MAP<STRING, STRING>, "
    "EVENT_TIME TIMESTAMP",
    "EXCHANGE_RATES": "CURRENCY STRING, EUR_RATE DECIMAL(18, 8)",
    "BLACKLISTED_CITIES": "CITY STRING, REASON STRING",
    "TRANSACTION_FLATTENED": f"TRANSACTION_ID STRING, USER_ID STRING, {_PERSON}, TRANSACTION_TYPE STRING, "
    "AMOUNT DECIMAL(12, 2), CURRENCY STRING, PAYMENT_METHOD STRING, PRODUCT_COUNT INTEGER, EVENT_TIME TIMESTAMP",
    "TRANSACTION_STREAM_ANONYMIZED": "CURRENCY STRING, TRANSACTION_ID STRING, USER_HASH STRING, USER_COUNTRY STRING, "
    "TRANSACTION_TYPE STRING, AMOUNT DECIMAL(12, 2), AMOUNT_EUR DECIMAL(14, 2), EXCHANGE_RATE DECIMAL(18, 8), "
    "PAYMENT_METHOD STRING, EVENT_TIME TIMESTAMP",
    "TRANSACTION_STREAM_BLACKLISTED": "USER_CITY STRING, TRANSACTION_ID STRING, USER_ID STRING, USER_NAME STRING, "
    "USER_COUNTRY STRING, AMOUNT DECIMAL(12, 2), CURRENCY STRING, REASON STRING, EVENT_TIME TIMESTAMP",
    "USER_TRANSACTION_SUMMARY": f"USER_ID STRING, TRANSACTION_TYPE STRING KEY, {_PERSON}, "
    "TOTAL_AMOUNT DECIMAL(18, 2), TRANSACTION_COUNT BIGINT, AVG_AMOUNT DECIMAL(18, 4), MIN_AMOUNT DECIMAL(12, 2), "
    "MAX_AMOUNT DECIMAL(12, 2), LAST_TRANSACTION_DATE TIMESTAMP",
    "PAYMENT_METHOD_TOTALS": "PAYMENT_METHOD STRING, TOTAL_AMOUNT DECIMAL(18, 2), TRANSACTION_COUNT BIGINT, "
    "AVG_AMOUNT DECIMAL(18, 4)",
    "TRANSACTION_PRODUCTS": f"TRANSACTION_ID STRING, USER_ID STRING, PRODUCT {_PRODUCT}, EVENT_TIME TIMESTAMP",
    "PRODUCT_PURCHASE_COUNTS": "PRODUCT_ID STRING, PRODUCT_NAME STRING, PRODUCT_CATEGORY STRING, "
    "PURCHASE_COUNT INTEGER, TOTAL_REVENUE DECIMAL(18, 2), AVG_PRICE DECIMAL(18, 4), UNIQUE_BUYERS BIGINT",
    "TRANSACTION_EUR": f"CURRENCY STRING, TRANSACTION_ID STRING, USER_ID STRING, {_PERSON}, TRANSACTION_TYPE STRING, "
    "AMOUNT_EUR DECIMAL(14, 2), EXCHANGE_RATE DECIMAL(18, 8)",
    "USER_TRANSACTION_SUMMARY_EUR": f"USER_ID STRING, TRANSACTION_TYPE STRING KEY, {_PERSON}, "
    "TOTAL_AMOUNT_EUR DECIMAL(18, 2), TRANSACTION_COUNT BIGINT, AVG_AMOUNT_EUR DECIMAL(18, 4), "
    "EXCHANGE_RATE DECIMAL(18, 8)",
}

Changes = dict[str, list[Record]]


class Pipeline:
    """Takes events in their order of arrival; each call returns the records that the event adds to every object."""

    def __init__(self) -> None:
        self.sources = {source.name: source for source in _empty_sources()}
        self._rates: dict[str, Decimal] = {}
        self._cities: dict[str, str] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._groups: dict[str, dict[tuple[Any, ...], Group]] = {}

    def dataset(self) -> Dataset:
        """The data set for the emulator after the events so far."""
        return Dataset(list(self.sources.values()))

    def add(self, event: Event, at_s: float = 0.0) -> Changes:
        """The records that one event adds, by object; they are in `dataset()` too."""
        changes: Changes = {}
        if event.topic == "exchange_rates":
            row = self._take(event, "EXCHANGE_RATES", changes, at_s)
            self._rates[row["CURRENCY"]] = row["EUR_RATE"]
        elif event.topic == "blacklisted_cities":
            row = self._take(event, "BLACKLISTED_CITIES", changes, at_s)
            self._cities[row["CITY"]] = row["REASON"]
        elif event.topic == "transactions":
            row = self._take(event, "TRANSACTION_STREAM", changes, at_s)
            if row:
                self._derive(event, row, changes, at_s)
        for name, records in changes.items():
            self.sources[name].records.extend(records)
        return changes

    def _take(self, event: Event, name: str, changes: Changes, at_s: float) -> Row:
        """The event itself as a record; an unreadable one keeps its offset and has no values."""
        source = self.sources[name]
        values = _read(event, source)
        timestamp = event.timestamp if not values or not source.timestamp else values[source.timestamp]
        record = Record(event.partition, event.offset, timestamp, values, at_s=at_s)
        changes.setdefault(name, []).append(record)
        return values or {}

    def _derive(self, event: Event, row: Row, changes: Changes, at_s: float) -> None:
        time = row["EVENT_TIME"]

        def emit(name: str, derived: Row, partition: int | None = None) -> None:
            source = self.sources[name]
            key = [derived[column] for column in source.keys]
            place = zlib.crc32(repr(key).encode()) % source.partitions if partition is None else partition
            offset = self._offsets.get((name, place), 0)
            self._offsets[name, place] = offset + 1
            changes.setdefault(name, []).append(Record(place, offset, time, derived, at_s=at_s))

        flat = _flatten(row)
        emit("TRANSACTION_FLATTENED", flat, event.partition)
        rate = self._rates.get(flat["CURRENCY"])
        eur = None if rate is None or flat["AMOUNT"] is None else rounded(EXACT.multiply(flat["AMOUNT"], rate), 2)
        if flat["CURRENCY"] is not None:
            emit("TRANSACTION_STREAM_ANONYMIZED", _anonymize(flat, eur, rate))
        if flat["USER_CITY"] in self._cities:
            wanted = _names("TRANSACTION_STREAM_BLACKLISTED")
            emit("TRANSACTION_STREAM_BLACKLISTED", _pick({**flat, "REASON": self._cities[flat["USER_CITY"]]}, wanted))
        self._group("USER_TRANSACTION_SUMMARY", flat, emit)
        self._group("PAYMENT_METHOD_TOTALS", flat, emit)
        for product in row["PRODUCTS"] or ():
            exploded = {**_pick(flat, ("TRANSACTION_ID", "USER_ID", "EVENT_TIME")), "PRODUCT": product}
            emit("TRANSACTION_PRODUCTS", _pick(exploded, _names("TRANSACTION_PRODUCTS")), event.partition)
            if product is not None:
                self._group("PRODUCT_PURCHASE_COUNTS", {**product, "USER_ID": flat["USER_ID"]}, emit)
        if rate is not None:
            in_eur = {**flat, "AMOUNT_EUR": eur, "EXCHANGE_RATE": rate}
            emit("TRANSACTION_EUR", _pick(in_eur, _names("TRANSACTION_EUR")))
            self._group("USER_TRANSACTION_SUMMARY_EUR", in_eur, emit)

    def _group(self, table: str, row: Row, emit: Callable[[str, Row], None]) -> None:
        """Adds a row to its group and emits the group's new state; a NULL in the key skips the row."""
        keys, aggregates = AGGREGATES[table]
        key = tuple(row[name] for name in keys)
        if None in key:
            return
        group = self._groups.setdefault(table, {}).setdefault(key, Group())
        names = self.sources[table].keys
        emit(table, dict(zip(names, key, strict=True)) | {name: fold(group, name, row) for name, fold in aggregates})


def build(events: Iterable[Event]) -> Dataset:
    """The data set after all events."""
    pipeline = Pipeline()
    for event in events:
        pipeline.add(event)
    return pipeline.dataset()


def _flatten(row: Row) -> Row:
    user = row["USER"] or {}
    products = row["PRODUCTS"]
    return {
        "TRANSACTION_ID": row["TRANSACTION_ID"],
        "USER_ID": user.get("USER_ID"),
        "USER_NAME": user.get("NAME"),
        "USER_EMAIL": user.get("EMAIL"),
        "USER_COUNTRY": user.get("COUNTRY"),
        "USER_CITY": user.get("CITY"),
        **_pick(row, ("TRANSACTION_TYPE", "AMOUNT", "CURRENCY")),
        "PAYMENT_METHOD": row["PAYMENT_METHOD"] if row["PAYMENT_METHOD"] is not None else "unknown",
        "PRODUCT_COUNT": None if products is None else len(products),
        "EVENT_TIME": row["EVENT_TIME"],
    }


def _anonymize(flat: Row, eur: Decimal | None, rate: Decimal | None) -> Row:
    user = flat["USER_ID"]
    # The statement says MD5: ksqlDB has no stronger hash.
    digest = None if user is None else hashlib.md5(user.encode(), usedforsecurity=False).hexdigest()
    row = {**flat, "USER_HASH": digest, "AMOUNT_EUR": eur, "EXCHANGE_RATE": rate}
    return _pick(row, _names("TRANSACTION_STREAM_ANONYMIZED"))


def _read(event: Event, source: Source) -> Row | None:
    """The event's value as the source's columns; None when it cannot be read."""
    try:
        body = None if event.value is None else json.loads(event.value, parse_float=Decimal)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    return {
        column.name: event.key if column.role == "KEY" else from_json(body.get(column.name), column.type)
        for column in source.columns
    }


def _pick(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    return {name: row[name] for name in names}


def _names(source: str) -> list[str]:
    return [column.name for column in _columns(source)]


def _columns(source: str) -> tuple[Column, ...]:
    columns: list[Column] = []
    depth, start, text = 0, 0, SCHEMAS[source] + ","
    for at, char in enumerate(text):
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            name, _, type_ = text[start:at].strip().partition(" ")
            key = type_.endswith(" KEY") or not columns
            columns.append(Column(name, parse_type(type_.removesuffix(" KEY")), "KEY" if key else "VALUE"))
            start = at + 1
    return tuple(columns)


def _empty_sources() -> list[Source]:
    statements = load_statements()
    topics = {statement.name: statement.topic for statement in statements}
    queries = {statement.name: _query(statement, topics) for statement in statements if statement.reads}
    return [
        Source(
            name=statement.name,
            kind=statement.kind,
            columns=_columns(statement.name),
            topic=statement.topic,
            partitions=3,
            write_query=queries.get(statement.name),
            read_queries=tuple(queries[other.name] for other in statements if statement.name in other.reads),
            statement=statement.text,
            timestamp=statement.timestamp,
            key_format=statement.key_format,
        )
        for statement in statements
    ]


def _query(statement: Statement, topics: Mapping[str, str]) -> Query:
    kind = "CSAS" if statement.kind == "STREAM" else "CTAS"
    read = tuple(topics[name] for name in statement.reads)
    return Query(f"{kind}_{statement.name}_1", statement.text, (statement.name,), (statement.topic,), read)
