"""Snapshots that the warehouse's tests load, and short ways to load them and to look at the result."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from data_lake_config import DEFAULT_FEEDS
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.server import Server

NOW = dt.datetime(2026, 11, 20, 6, 0, tzinfo=dt.UTC)
FEEDS = {feed.name: feed for feed in DEFAULT_FEEDS}
METHODS = pa.schema(
    [
        ("payment_method", pa.string()),
        ("total_amount", pa.decimal128(18, 2)),
        ("transaction_count", pa.int64()),
        ("avg_amount", pa.decimal128(18, 4)),
    ]
)
USERS = pa.schema(
    [
        ("user_id", pa.string()),
        ("transaction_type", pa.string()),
        ("user_name", pa.string()),
        ("user_email", pa.string()),
        ("user_country", pa.string()),
        ("user_city", pa.string()),
        ("total_amount", pa.decimal128(18, 2)),
        ("transaction_count", pa.int64()),
        ("avg_amount", pa.decimal128(18, 4)),
        ("min_amount", pa.decimal128(12, 2)),
        ("max_amount", pa.decimal128(12, 2)),
        ("last_transaction_date", pa.timestamp("us", tz="UTC")),
    ]
)
EUR = pa.schema(
    [*list(USERS)[:6], ("total_amount_eur", pa.decimal128(18, 2)), ("transaction_count", pa.int64()),
     ("avg_amount_eur", pa.decimal128(18, 4)), ("exchange_rate", pa.decimal128(18, 8))]
)  # fmt: skip
PRODUCTS = pa.schema(
    [("product_id", pa.string()), ("product_name", pa.string()), ("product_category", pa.string()),
     ("purchase_count", pa.int32()), ("total_revenue", pa.decimal128(18, 2)), ("avg_price", pa.decimal128(18, 4)),
     ("unique_buyers", pa.int64())]
)  # fmt: skip


def snapshot(
    feed: str,
    schema: pa.Schema,
    rows: list[dict[str, Any]],
    version: int | None = None,
    days: int = 0,
    lake: str = "a lake",
) -> TableSnapshot:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist(rows, schema=schema)

    mapping = FEEDS[feed].warehouse
    assert mapping is not None
    taken_at = NOW + dt.timedelta(days=days)
    if version is None:
        return TableSnapshot(feed, mapping, schema, batches, len(rows), None, taken_at)
    files = hashlib.blake2b(repr((version, days, rows)).encode(), digest_size=16).hexdigest()
    return TableSnapshot(feed, mapping, schema, batches, len(rows), version, taken_at, lake, files)


def method(name: str | None, count: int | None = 1, total: str | None = "1.00") -> dict[str, Any]:
    amount = None if total is None else Decimal(total)
    return {"payment_method": name, "total_amount": amount, "transaction_count": count, "avg_amount": None}


def user(user_id: str, kind: str = "purchase", **fields: Any) -> dict[str, Any]:
    return {"user_id": user_id, "transaction_type": kind, "user_name": "Ada", "transaction_count": 1} | fields


def methods(*rows: dict[str, Any], version: int | None = None, days: int = 0, lake: str = "a lake") -> TableSnapshot:
    return snapshot("payment_method_totals", METHODS, list(rows), version, days, lake)


def load(server: Server, *snapshots: TableSnapshot, source: str = "ksqldb", **options: Any) -> Loaded:
    with Connection(server) as connection:
        return load_star(connection, snapshots, source, NOW, **options)


def rows_of(server: Server, sql: str) -> list[tuple[Any, ...]]:
    with Connection(server) as connection:
        return connection.rows(sql)


def eur(version: int) -> TableSnapshot:
    return snapshot("user_transaction_summary_eur", EUR, [user("a", user_country="FR")], version)
