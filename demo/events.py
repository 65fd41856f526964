"""Seeded transaction events with the irregularities of real data.

They have late and out-of-order events, several currencies of which one has no rate, refunds, nulls, names in several
scripts, a payment method that the warehouse does not know, blacklisted cities, a record that cannot be read and one
without a value. The same seed gives the same events.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

PARTITIONS = 3
DAYS = 14
RATES = {"EUR": "1.00000000", "USD": "0.91234567", "GBP": "1.17650000", "JPY": "0.00612345", "PLN": "0.23456789"}
CURRENCIES = ("EUR", "EUR", "EUR", "USD", "USD", "GBP", "JPY", "PLN", "CHF")  # CHF has no rate
CITIES = {"Lagos": "sanctions", "Gotham": "fraud"}
METHODS = ("card", "card", "card", "paypal", "bank_transfer", "apple_pay", "google_pay", "crypto", None)
TYPES = ("purchase", "purchase", "purchase", "transfer", "refund")
PEOPLE = (
    ("Zoë Faure", "FR", "Paris"),
    ("Ada O'Neil", "NG", "Lagos"),
    ("山田 花子", "JP", "東京"),
    ("مريم العلوي", "MA", "Rabat"),
    ("Łukasz Żółć", "PL", "Łódź"),
    ("Иван Петров", "BG", "София"),
    ('Bruce "Bat" W.', "US", "Gotham"),
    ("Anna 🚀 Müller", "DE", "Berlin"),
    (None, "DE", "Köln"),
    ("João da Silva", "BR", "São Paulo"),
)
_TAGS: tuple[dict[str, str | None] | None, ...] = (
    None,
    {},
    {"channel": "web"},
    {"channel": "app", "campaign": "Noël"},
    {"note": None},
)


@dataclass(frozen=True)
class Event:
    """One record as Kafka holds it: `key` and `value` are text, or None; `timestamp` is epoch ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str | None
    value: str | None


def generate(transactions: int, end: dt.date, seed: int = 7, users: int = 120) -> Iterator[Event]:
    """The two lookup tables' events, then the transactions of the 14 days up to `end`, in the order of arrival."""
    rng = random.Random(seed)
    start_ms = int(dt.datetime.combine(end - dt.timedelta(days=DAYS), dt.time(), dt.UTC).timestamp() * 1000)
    yield from _lookups(start_ms)
    offsets = dict.fromkeys(range(PARTITIONS), 0)
    bad_at, null_at = transactions // 3, transactions // 2
    step_ms = DAYS * 86_400_000 // max(transactions, 1)
    for number in range(transactions):
        partition = rng.randrange(PARTITIONS)
        key, value, timestamp = _transaction(rng, number, users, start_ms + number * step_ms)
        if number == bad_at:
            value = '{"USER":"not a struct"'
        elif number == null_at:
            value = None
        yield Event("transactions", partition, offsets[partition], timestamp, key, value)
        offsets[partition] += 1


def _lookups(timestamp: int) -> Iterator[Event]:
    for topic, column, entries in (
        ("exchange_rates", "EUR_RATE", RATES),
        ("blacklisted_cities", "REASON", {city: f'"{reason}"' for city, reason in CITIES.items()}),
    ):
        for offset, (key, value) in enumerate(entries.items()):
            yield Event(topic, 0, offset, timestamp, key, f'{{"{column}":{value}}}')


def _transaction(rng: random.Random, number: int, users: int, now_ms: int) -> tuple[str, str | None, int]:
    # One in twelve comes late, by up to two days: out of order, often across midnight.
    late_ms = rng.randrange(2 * 86_400_000) if rng.random() < 1 / 12 else rng.randrange(90_000)
    event_ms = now_ms - late_ms
    user = min(int(rng.expovariate(1 / users * 3)), users - 1)
    name, country, city = PEOPLE[user % len(PEOPLE)]
    kind = rng.choice(TYPES)
    cents = rng.choice((0, 1, 99, rng.randrange(100_00), rng.randrange(5_000_00), rng.randrange(9_999_999_99)))
    amount = Decimal(-cents if kind == "refund" else cents).scaleb(-2)
    body = {
        "USER": {
            "USER_ID": f"u{user:04}",
            "NAME": name,
            "EMAIL": f"user{user}@example.com",
            "COUNTRY": country,
            "CITY": city,
        },
        "TRANSACTION_TYPE": kind,
        "AMOUNT": f"@{amount:.2f}@",
        "CURRENCY": rng.choice(CURRENCIES),
        "PAYMENT_METHOD": rng.choice(METHODS),
        "PRODUCTS": rng.choice((None, [], *([_products(rng)] * 8))),
        "TAGS": rng.choice(_TAGS),
        "EVENT_TIME": event_ms,
    }
    text = json.dumps(body, ensure_ascii=False)
    return f"tx{number:07}", text.replace('"@', "").replace('@"', ""), event_ms


def _products(rng: random.Random) -> list[dict[str, object]]:
    products: list[dict[str, object]] = []
    for _ in range(rng.randrange(1, 4)):
        product = min(int(rng.expovariate(1 / 12)), 39)
        products.append(
            {
                "PRODUCT_ID": f"p{product:03}",
                "NAME": f"Product {product}",
                "CATEGORY": ("books", "music", "garden", "tools", "toys")[product % 5],
                "UNIT_PRICE": f"@{Decimal(rng.randrange(99, 300_00)).scaleb(-2):.2f}@",
                "QUANTITY": rng.randrange(1, 5),
            }
        )
    return products
