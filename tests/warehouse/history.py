"""Two months of daily snapshots for the questions of `sql/04_sample_queries.sql`: rows in memory, and loaded.

Made from single transactions, so that the four tables agree with each other as they do in ksqlDB. What real histories
have is there on purpose: users who join and users who stop, a currency without a rate, a payment method and products
that appear and vanish, a day without a snapshot, a day with two, a snapshot that was loaded late, one whose expiry
was cut short, a row that does not fit, attributes that nobody gave, and a counter that went down.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import in_mysql
from pipeline.warehouse.load import load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import mapping_of
from tests.warehouse.samples import EUR, FEEDS, METHODS, NOW, PRODUCTS, USERS, snapshot

Row = dict[str, Any]

FIRST_DAY = dt.date(2026, 9, 22)
LAST_DAY = NOW.date()
MISSING_DAY = dt.date(2026, 10, 18)
TWICE_DAY = dt.date(2026, 11, 5)
LATE_DAY = dt.date(2026, 11, 10)
CUT_DAY = dt.date(2026, 10, 1)
USER_COUNT = 320
SHRUNK_USER = "u005"
NAMELESS_USER = "u011"
NEW_METHOD, NEW_METHOD_DAY = "crypto", dt.date(2026, 10, 20)
_DAY = dt.timedelta(days=1)
_RATES = {"EUR": Decimal("1.00000000"), "USD": Decimal("0.91250000"), "CHF": Decimal("1.04375000"), "XOF": None}
_TYPES = ("purchase", "transfer", "refund")
_METHODS = ("card", "paypal", "cash", "bank_transfer", "unknown")
_COUNTRIES = ("FR", "DE", "SN", "CH", "US", None)
_CATEGORIES = ("books", "games", "garden", None)
SCHEMAS = {
    "user_transaction_summary": USERS,
    "user_transaction_summary_eur": EUR,
    "payment_method_totals": METHODS,
    "product_purchase_counts": PRODUCTS,
}


@dataclass(frozen=True)
class State:
    """What ksqlDB's four tables hold at one moment, by feed.

    `version` is the snapshot's number once it is loaded; lake versions are in the order of their time.
    """

    taken_at: dt.datetime
    rows: dict[str, list[Row]]
    version: int
    lake_version: int

    @property
    def day(self) -> dt.date:
        return self.taken_at.date()

    def of(self, feed: str, *keys: str) -> dict[Any, Row]:
        """The rows that fit by key: by the value of one column, or by a tuple of several."""
        fitting = (row for row in self.rows[feed] if all(row[key] is not None for key in keys))
        return {row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys): row for row in fitting}


def make_history(users: int = USER_COUNT) -> list[State]:
    """Every state in the order of its loading: the late day comes last but one, today's last."""
    moments = [_at(FIRST_DAY + i * _DAY, 6) for i in range((LAST_DAY - FIRST_DAY).days + 1)]
    moments = [moment for moment in moments if moment.date() != MISSING_DAY]
    moments.append(_at(TWICE_DAY, 18))
    tables = _Tables(users)
    states = {moment: tables.until(moment) for moment in sorted(moments)}
    _spoil_last(states[moments[-2]])
    order = sorted(states, key=lambda moment: (moment.date() == LAST_DAY, moment.date() == LATE_DAY, moment))
    in_time = sorted(states)
    return [
        State(moment, states[moment], version, 2 * in_time.index(moment) + 1) for version, moment in enumerate(order, 1)
    ]


def days_of(history: list[State]) -> list[State]:
    """The last state of each day, oldest first."""
    return list({state.day: state for state in sorted(history, key=lambda state: state.taken_at)}.values())


def load_history(server: Server, history: list[State]) -> None:
    """Loads the first and the last two states the public way, those between as finished rows, ten times faster.

    That both ways leave the same is what the tests show that compare every snapshot with its state.
    """
    first, *between, late, last = history
    with Connection(server) as connection:
        load_star(connection, snapshots_of(first), "lake", first.taken_at)
        with connection.transaction():
            for table, columns, rows in _finished_rows(first, between):
                _send(connection, table, columns, rows)
        for state in (late, last):
            assert load_star(connection, snapshots_of(state), "lake", state.taken_at).version == state.version
        tables = ["etl_snapshots", "etl_snapshot_facts", "etl_current", "dim_users", *map(fact_of, SCHEMAS)]
        connection.rows(f"ANALYZE TABLE {', '.join(tables)}")


def cut_an_expiry_short(server: Server, history: list[State]) -> None:
    """Leaves what a killed expiry does: a day's last snapshot, marked as being deleted, with some rows gone."""
    halves = {feed: rows[::2] for feed, rows in history[0].rows.items()}
    version = len(history) + 1
    with Connection(server) as connection:
        before = next(state.lake_version for state in history if state.day == CUT_DAY)
        load_star(connection, snapshots_of(State(_at(CUT_DAY, 9), halves, version, before + 1)), "lake", NOW)
        with connection.transaction():
            connection.run("UPDATE etl_snapshots SET status = 'expiring' WHERE snapshot_version = %s", (version,))
            connection.run("DELETE FROM fact_user_transaction_summary WHERE snapshot_version = %s LIMIT 9", (version,))


def fact_of(feed: str) -> str:
    return mapping_of(FEEDS[feed]).fact


def _finished_rows(first: State, states: list[State]) -> Iterator[tuple[str, Sequence[str], list[tuple[Any, ...]]]]:
    """Table, columns and rows of the ledger, of members that the first state does not have, and of the facts."""
    users = {row["user_id"] for state in states for row in state.rows["user_transaction_summary"]}
    known = {row["user_id"] for row in first.rows["user_transaction_summary"]}
    yield "dim_users", ["user_id"], [(user,) for user in sorted(users - known)]
    yield "dim_payment_methods", ["payment_method_id"], [(NEW_METHOD,)]
    moments = [(state.version, state.day, in_mysql(state.taken_at)) for state in states]
    columns = ["snapshot_version", "snapshot_date", "taken_at", "loaded_at", "source", "status"]
    yield "etl_snapshots", columns, [(*moment, moment[-1], "lake", "complete") for moment in moments]
    columns = ["snapshot_version", "fact_table", "feed", "lake_version", "row_count", "rejected_count", "content_hash"]
    for feed in SCHEMAS:
        mapping = mapping_of(FEEDS[feed])
        counts = [
            (state.version, mapping.fact, feed, state.lake_version, len(state.rows[feed]), 0, "") for state in states
        ]
        yield "etl_snapshot_facts", columns, counts
        rows = [
            (state.version, state.day, *(row.get(source) for source in mapping.columns.values()))
            for state in states
            for row in state.rows[feed]
        ]
        yield mapping.fact, ["snapshot_version", "snapshot_date", *mapping.columns], rows


def _send(connection: Connection, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    lines = "".join("\t".join("\\N" if value is None else _text(value) for value in row) + "\n" for row in rows)
    assert connection.load_file(table, f"({', '.join(columns)})", lines.encode()) == len(rows)


def _text(value: Any) -> str:
    return str(in_mysql(value) if isinstance(value, dt.datetime) and value.tzinfo else value)


def snapshots_of(state: State) -> list[TableSnapshot]:
    days = (state.taken_at - NOW) / _DAY
    return [snapshot(feed, SCHEMAS[feed], rows, state.lake_version, days) for feed, rows in state.rows.items()]


def _spoil_last(rows: dict[str, list[Row]]) -> None:
    for row in rows["user_transaction_summary"]:
        if row["user_id"] == SHRUNK_USER:
            row["transaction_count"] = 1
    rows["product_purchase_counts"].append(dict.fromkeys(PRODUCTS.names) | {"purchase_count": 1})


class _Tables:
    """The four tables, folded from transactions that come in the order of their time."""

    def __init__(self, users: int) -> None:
        self._rng = random.Random(4)
        self._events = self._make_events(users)
        self._next = next(self._events)
        self._users: dict[tuple[str, str], Row] = {}
        self._eur: dict[tuple[str, str], Row] = {}
        self._methods: dict[str, Row] = {}
        self._products: dict[str, Row] = {}

    def until(self, moment: dt.datetime) -> dict[str, list[Row]]:
        while self._next["at"] < moment:
            self._fold(self._next)
            self._next = next(self._events)
        products = [row for key, row in self._products.items() if not _is_withdrawn(key, moment.date())]
        tables = (self._users.values(), self._eur.values(), self._methods.values(), products)
        return {feed: [_finish(row) for row in rows] for feed, rows in zip(SCHEMAS, tables, strict=True)}

    def _make_events(self, users: int) -> Iterator[Row]:
        """Users join from 20 days before the history on; two of five stop at some day."""
        rng, people = self._rng, []
        for number in range(users):
            joined = FIRST_DAY + rng.randrange(-20, 58) * _DAY
            stopped = joined + rng.randrange(1, 60) * _DAY if number % 5 < 2 else dt.date.max
            people.append((f"u{number:03}", joined, stopped, rng.choice((0.2, 0.5, 0.9))))
        day = FIRST_DAY - 20 * _DAY
        while True:
            events = [
                self._make_event(user, day)
                for user, joined, stopped, busy in people
                if joined == day or (joined < day < stopped and rng.random() < busy)
            ]
            yield from sorted(events, key=lambda event: (event["at"], event["user_id"]))
            day += _DAY

    def _make_event(self, user: str, day: dt.date) -> Row:
        rng = self._rng
        methods = (*_METHODS, NEW_METHOD) if day >= NEW_METHOD_DAY else _METHODS
        return {
            "user_id": user,
            "at": _at(day, 0) + dt.timedelta(milliseconds=rng.randrange(86_400_000)),
            "type": rng.choices(_TYPES, (6, 3, 1))[0],
            "amount": Decimal(rng.randrange(100, 50_000)) / 100,
            "currency": rng.choices(tuple(_RATES), (5, 3, 1, 1))[0],
            "method": rng.choice(methods),
            "product": f"p{rng.randrange((day - FIRST_DAY).days + 25):03}",
            "quantity": rng.randrange(1, 4),
        }

    def _fold(self, event: Row) -> None:
        number = int(event["user_id"][1:])
        person = {
            "user_id": event["user_id"],
            "transaction_type": event["type"],
            "user_name": None if event["user_id"] == NAMELESS_USER else f"User {number}",
            "user_email": f"{event['user_id']}@example.org",
            "user_country": _COUNTRIES[number % len(_COUNTRIES)],
            "user_city": None,
        }
        key, amount, rate = (event["user_id"], event["type"]), event["amount"], _RATES[event["currency"]]
        row = self._users.setdefault(key, person | {"min_amount": amount, "max_amount": amount})
        _add(row, "total_amount", amount)
        row["min_amount"], row["max_amount"] = min(row["min_amount"], amount), max(row["max_amount"], amount)
        row["last_transaction_date"] = event["at"]
        if rate is not None:
            row = self._eur.setdefault(key, dict(person))
            _add(row, "total_amount_eur", _round(amount * rate, 2))
            row["exchange_rate"] = rate
        _add(self._methods.setdefault(event["method"], {"payment_method": event["method"]}), "total_amount", amount)
        self._fold_product(event["product"], event)

    def _fold_product(self, product: str, event: Row) -> None:
        number = int(product[1:])
        row = self._products.setdefault(
            product,
            {"product_id": product, "product_name": f"Product {number}", "purchase_count": 0, "buyers": set(),
             "product_category": _CATEGORIES[number % len(_CATEGORIES)], "total_revenue": Decimal("0.00")},
        )  # fmt: skip
        row["purchase_count"] += event["quantity"]
        row["total_revenue"] += event["amount"]
        row["buyers"].add(event["user_id"])
        row["unique_buyers"] = len(row["buyers"])
        row["avg_price"] = _round(row["total_revenue"] / row["purchase_count"], 4)


def _is_withdrawn(product: str, day: dt.date) -> bool:
    """Every ninth product leaves the table one after the other, as by a tombstone."""
    number = int(product[1:])
    return number % 9 == 4 and day >= FIRST_DAY + (20 + number % 40) * _DAY


def _add(row: Row, total: str, amount: Decimal) -> None:
    row[total] = row.get(total, Decimal("0.00")) + amount
    row["transaction_count"] = row.get("transaction_count", 0) + 1


def _finish(row: Row) -> Row:
    done = {name: value for name, value in row.items() if name != "buyers"}
    for total in ("total_amount", "total_amount_eur"):
        if total in row:
            done[total.replace("total", "avg")] = _round(row[total] / row["transaction_count"], 4)
    return done


def _round(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def _at(day: dt.date, hour: int) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, hour, tzinfo=dt.UTC)
