"""What the questions of `sql/04_sample_queries.sql` must answer, worked out in Python from the history's states."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Any
from unittest.mock import ANY

from tests.warehouse.history import State, days_of, fact_of
from tests.warehouse.scores import quartiles, rounded, segment_of

Rows = list[tuple[Any, ...]]
USERS, USERS_EUR = "user_transaction_summary", "user_transaction_summary_eur"
METHODS, PRODUCTS = "payment_method_totals", "product_purchase_counts"
_DISPLAY = {"card": "Card", "paypal": "PayPal", "cash": "Cash", "bank_transfer": "Bank transfer", "unknown": "Not told"}
_DAY = dt.timedelta(days=1)


class Answers:
    """One method a question, named like it; rows in the order that the question asks for."""

    def __init__(self, history: list[State]) -> None:
        self._history = history
        self.days = days_of(history)
        self._now = self.days[-1]
        self._users = self._now.of(USERS, "user_id", "transaction_type")
        self._eur = self._now.of(USERS_EUR, "user_id", "transaction_type")
        self._methods = self._now.of(METHODS, "payment_method")
        self._people = {row["user_id"]: row for row in self._users.values()}

    def top_users(self) -> Rows:
        counts = per_user(self._now, "transaction_count")
        eur = self._eur_per_user()
        found = [
            (user, self._people[user]["user_name"], self._people[user]["user_country"], count, eur.get(user))
            for user, count in counts.items()
        ]
        return sorted(found, key=lambda row: (-row[3], row[0]))[:10]

    def transaction_types(self) -> Rows:
        found = []
        for kind in {kind for _, kind in self._users}:
            rows = [row for (_, other), row in self._users.items() if other == kind]
            count, total = total_of(rows, "transaction_count"), total_of(rows, "total_amount")
            low, high = min(row["min_amount"] for row in rows), max(row["max_amount"] for row in rows)
            found.append((kind, len(rows), count, total, rounded(total / count, 2), low, high))
        return sorted(found, key=lambda row: (-row[2], row[0]))

    def payment_shares(self) -> Rows:
        whole = total_of(self._methods.values(), "transaction_count")
        found = [
            (name, _DISPLAY.get(name), name in _DISPLAY, row["transaction_count"], row["total_amount"],
             rounded(Decimal(100 * row["transaction_count"]) / whole, 1))
            for name, row in self._methods.items()
        ]  # fmt: skip
        return sorted(found, key=lambda row: (-row[3], row[0]))

    def product_ranking(self) -> Rows:
        rows = list(self._now.of(PRODUCTS, "product_id").values())
        whole = total_of(rows, "total_revenue")
        names = ("product_id", "product_name", "product_category", "purchase_count", "total_revenue", "unique_buyers")
        found = []
        for row in rows:
            better = [other for other in rows if other["total_revenue"] > row["total_revenue"]]
            alike = [other for other in better if other["product_category"] == row["product_category"]]
            percent = rounded(100 * row["total_revenue"] / whole, 2)
            found.append((*(row[name] for name in names), len(better) + 1, len(alike) + 1, percent))
        return sorted(found, key=lambda row: (row[6], row[0]))

    def top_products(self) -> Rows:
        return self.product_ranking()[:20]

    def eur_against_original(self) -> Rows:
        found = []
        for key, row in self._users.items():
            eur = self._eur.get(key, {"total_amount_eur": None, "transaction_count": 0})
            without = row["transaction_count"] - eur["transaction_count"]
            found.append((*key, row["transaction_count"], row["total_amount"], eur["total_amount_eur"], without))
        return sorted(found, key=lambda row: (-row[5], row[:2]))[:20]

    def user_segments(self) -> Rows:
        counts, eur = per_user(self._now, "transaction_count"), self._eur_per_user()
        last = {user: max(row["last_transaction_date"] for row in self._rows_of(user)) for user in counts}
        scores = [
            quartiles(counts, lambda user: last[user]),
            quartiles(counts, lambda user: counts[user]),
            quartiles(counts, lambda user: eur.get(user, 0)),
        ]
        return [
            (user, last[user].replace(tzinfo=None), counts[user], eur.get(user, 0),
             *(score[user] for score in scores), segment_of(*(score[user] for score in scores)))
            for user in sorted(counts)
        ]  # fmt: skip

    def rfm_segments(self) -> Rows:
        segments: dict[str, Rows] = defaultdict(list)
        for row in self.user_segments():
            segments[row[-1]].append(row)
        found = [(name, len(rows), sum(r[2] for r in rows), sum(r[3] for r in rows)) for name, rows in segments.items()]
        return sorted(found, key=lambda row: (-row[1], row[0]))

    def countries(self) -> Rows:
        found = []
        for country in {row["user_country"] for row in self._eur.values()}:
            rows = [row for row in self._eur.values() if row["user_country"] == country]
            users, total = len({row["user_id"] for row in rows}), total_of(rows, "total_amount_eur")
            count = total_of(rows, "transaction_count")
            found.append((country or "(not told)", users, count, total, rounded(total / users, 2)))
        return sorted(found, key=lambda row: (-row[3], row[0]))

    def cohorts(self) -> Rows:
        seen: dict[tuple[str, str], bool] = {}
        cohort: dict[str, str] = {}
        before: dict[str, Any] | None = None
        for state in self.days:
            counts = per_user(state, "transaction_count")
            for user, count in counts.items():
                month = f"{state.day:%Y-%m}"
                cohort.setdefault(user, month)
                active = before is not None and count > before.get(user, 0)
                seen[user, month] = seen.get((user, month), False) or active
            before = counts
        found = []
        for first, month in {(cohort[user], month) for user, month in seen}:
            members = [active for (user, other), active in seen.items() if (cohort[user], other) == (first, month)]
            share = rounded(Decimal(100 * sum(members)) / len(members), 1)
            found.append((first, month, len(members), sum(members), share))
        return sorted(found)

    def payment_method_growth(self) -> Rows:
        """Day, method, count, total, and what is new in both; days in their order."""
        found: Rows = []
        before: dict[str, Any] | None = None
        for state in self.days:
            methods = state.of(METHODS, "payment_method")
            for name, row in sorted(methods.items()):
                old = (before or {}).get(name, {"transaction_count": 0, "total_amount": 0})
                new = [None if before is None else row[c] - old[c] for c in ("transaction_count", "total_amount")]
                found.append((state.day, name, row["transaction_count"], row["total_amount"], *new))
            before = methods
        return found

    def growth(self) -> Rows:
        found = []
        for state in self.days:
            rows = [row for row in self.payment_method_growth() if row[0] == state.day]
            count, total, new, amount = (
                None if None in column else sum(column) for column in list(zip(*rows, strict=True))[2:]
            )
            found.append((state.day, count, new, total, amount))
        return found

    def month_over_month(self) -> Rows:
        last = {f"{state.day:%Y-%m}": state for state in self.days}
        totals = [
            (month, *(total_of(state.of(METHODS, "payment_method").values(), name) for name in ("transaction_count",
             "total_amount"))) for month, state in sorted(last.items())
        ]  # fmt: skip
        found: Rows = [(totals[0][0], None, None, None)]
        for (_, old_count, old_amount), (month, count, amount) in pairwise(totals):
            grown, former = count - old_count, found[-1][1]
            percent = None if former is None else rounded(Decimal(100 * grown) / former - 100, 1)
            found.append((month, grown, amount - old_amount, percent))
        return found

    def payment_growth(self) -> Rows:
        last = {state.day for state in self.days[-7:]}
        found = [(name, day, count, *new) for day, name, count, _, *new in self.payment_method_growth() if day in last]
        return sorted(found, key=lambda row: row[:2])

    def fastest_growing(self) -> Rows:
        counts, amounts = (self._gains(7, column) for column in ("transaction_count", "total_amount"))
        found = [(user, count, amounts[user]) for user, count in counts.items()]
        return sorted(found, key=lambda row: (-row[1], row[0]))[:10]

    def user_activity(self) -> Rows:
        """User, day, transactions, new transactions and new amount; by user and day."""
        found: Rows = []
        before: tuple[dict[str, Any], dict[str, Any]] | None = None
        for state in self.days:
            counts, amounts = per_user(state, "transaction_count"), per_user(state, "total_amount")
            for user, count in counts.items():
                new: tuple[Any, Any] = (None, None)
                if before is not None:
                    new = (count - before[0].get(user, 0), amounts[user] - before[1].get(user, 0))
                found.append((user, state.day, count, *new))
            before = (counts, amounts)
        return sorted(found, key=lambda row: row[:2])

    def one_user(self) -> Rows:
        user = min(self._users.values(), key=lambda row: (-row["transaction_count"], row["user_id"]))["user_id"]
        return [row for row in self.user_activity() if row[0] == user]

    def as_it_was(self) -> Rows:
        tuesday = max((state for state in self.days if state.day.weekday() == 1), key=lambda state: state.day)
        rows = tuesday.of(USERS, "user_id", "transaction_type").values()
        found = []
        for kind in sorted({row["transaction_type"] for row in rows}):
            of_kind = [row for row in rows if row["transaction_type"] == kind]
            totals = (total_of(of_kind, "transaction_count"), total_of(of_kind, "total_amount"))
            found.append((tuesday.day, kind, len(of_kind), *totals))
        return found

    def churn(self) -> Rows:
        counts = per_user(self._now, "transaction_count")
        found = []
        for user, gain in self._gains(14, "transaction_count").items():
            last = max(row["last_transaction_date"] for row in self._rows_of(user)).replace(tzinfo=None)
            if gain <= 0:
                found.append((user, self._people[user]["user_country"], counts[user], last))
        return sorted(found, key=lambda row: (row[3], row[0]))

    def product_changes(self) -> Rows:
        now, then = (self.days[place].of(PRODUCTS, "product_id") for place in (-1, -8))
        parts = (("new", now, then), ("vanished", then, now))
        found = [
            (what, name, row["product_name"], row["total_revenue"])
            for what, here, there in parts
            for name, row in here.items()
            if name not in there
        ]
        return sorted(found)

    def missing_days(self) -> Rows:
        gaps = [
            (old.day + _DAY, (new.day - old.day).days - 1)
            for old, new in pairwise(self.days)
            if (new.day - old.day).days > 1
        ]
        return sorted((fact_of(feed), *gap) for feed in self._now.rows for gap in gaps)

    def went_down(self) -> Rows:
        counts = per_user(self._now, "transaction_count")
        gains = sorted(self._gains(1, "transaction_count").items())
        return [(user, self._now.day, counts[user], gain) for user, gain in gains if gain < 0]

    def rejected(self) -> Rows:
        return [(fact_of(PRODUCTS), "product_id", ANY, 1, '{"product_id": null}')]

    def not_described(self) -> Rows:
        methods = [("payment method", name) for name in self._methods if name not in _DISPLAY]
        return sorted([*methods, *(("user", user) for user, row in self._people.items() if row["user_name"] is None)])

    def ledger_agrees(self) -> Rows:
        keys = {USERS: "user_id", USERS_EUR: "user_id", METHODS: "payment_method", PRODUCTS: "product_id"}
        found = []
        for state in self._history:
            for feed, rows in state.rows.items():
                fitting = sum(row[keys[feed]] is not None for row in rows)
                found.append((state.version, fact_of(feed), fitting, 0, len(rows) - fitting))
        return sorted(found)

    def facts_agree(self) -> Rows:
        methods, users = (total_of(rows.values(), "transaction_count") for rows in (self._methods, self._users))
        return [(methods, users, methods - users)]

    def _rows_of(self, user: str) -> list[dict[str, Any]]:
        return [row for (other, _), row in self._users.items() if other == user]

    def _eur_per_user(self) -> dict[str, Any]:
        return per_user(self._now, "total_amount_eur", USERS_EUR)

    def _gains(self, days: int, column: str) -> dict[str, Any]:
        """How much each user's total grew since so many days before."""
        then = per_user(self.days[-1 - days], column)
        return {user: total - then.get(user, 0) for user, total in per_user(self._now, column).items()}


def per_user(state: State, column: str, feed: str = USERS) -> dict[str, Any]:
    totals: dict[str, Any] = {}
    for row in state.rows[feed]:
        totals[row["user_id"]] = totals.get(row["user_id"], 0) + row[column]
    return totals


def total_of(rows: Iterable[dict[str, Any]], column: str) -> Any:
    return sum(row[column] for row in rows)
