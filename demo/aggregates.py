"""The aggregates of the pipeline's tables, in exact arithmetic: how a row updates each column of its group."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

EXACT = Context(prec=76, rounding=ROUND_HALF_UP)
Row = dict[str, Any]


def rounded(value: Decimal, scale: int) -> Decimal:
    """With `scale` digits after the point, rounded half up."""
    # Adding zero turns -0.00 into 0.00, as on the server.
    return value.quantize(Decimal(1).scaleb(-scale), context=EXACT) + 0


class Group:
    """The state of one group's aggregates, by column."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}


Fold = Callable[[Group, str, Row], Any]


def _latest(column: str) -> Fold:
    return lambda group, name, row: _keep(group, name, row[column] if row[column] is not None else group.seen.get(name))


def _total(value: Callable[[Row], Any]) -> Fold:
    def fold(group: Group, name: str, row: Row) -> Any:
        added, sum_ = value(row), group.seen.get(name)
        if added is None:
            return _keep(group, name, 0 if sum_ is None else sum_)
        return _keep(group, name, added if sum_ is None else sum_ + added)

    return fold


def _count(group: Group, name: str, _: Row) -> int:
    return int(_keep(group, name, group.seen.get(name, 0) + 1))


def _average(column: str) -> Fold:
    def fold(group: Group, name: str, row: Row) -> Decimal | None:
        sum_, count = group.seen.get(name, (0.0, 0))
        if row[column] is not None:
            sum_, count = sum_ + float(row[column]), count + 1
        group.seen[name] = (sum_, count)
        return rounded(Decimal(sum_ / count), 4) if count else Decimal("0.0000")

    return fold


def _extreme(column: str, better: Callable[[Any, Any], Any]) -> Fold:
    def fold(group: Group, name: str, row: Row) -> Any:
        old, new = group.seen.get(name), row[column]
        return _keep(group, name, old if new is None else new if old is None else better(old, new))

    return fold


def _distinct(column: str) -> Fold:
    def fold(group: Group, name: str, row: Row) -> int:
        seen: set[Any] = group.seen.setdefault(name, set())
        if row[column] is not None:
            seen.add(row[column])
        return len(seen)

    return fold


def _keep(group: Group, name: str, value: Any) -> Any:
    group.seen[name] = value
    return value


def _revenue(row: Row) -> Decimal | None:
    if row["UNIT_PRICE"] is None or row["QUANTITY"] is None:
        return None
    return rounded(EXACT.multiply(row["UNIT_PRICE"], Decimal(row["QUANTITY"])), 2)


_OF_THE_PERSON = [(name, _latest(name)) for name in ("USER_NAME", "USER_EMAIL", "USER_COUNTRY", "USER_CITY")]
AGGREGATES: dict[str, tuple[tuple[str, ...], list[tuple[str, Fold]]]] = {
    "USER_TRANSACTION_SUMMARY": (
        ("USER_ID", "TRANSACTION_TYPE"),
        [
            *_OF_THE_PERSON,
            ("TOTAL_AMOUNT", _total(lambda row: row["AMOUNT"])),
            ("TRANSACTION_COUNT", _count),
            ("AVG_AMOUNT", _average("AMOUNT")),
            ("MIN_AMOUNT", _extreme("AMOUNT", min)),
            ("MAX_AMOUNT", _extreme("AMOUNT", max)),
            ("LAST_TRANSACTION_DATE", _extreme("EVENT_TIME", max)),
        ],
    ),
    "USER_TRANSACTION_SUMMARY_EUR": (
        ("USER_ID", "TRANSACTION_TYPE"),
        [
            *_OF_THE_PERSON,
            ("TOTAL_AMOUNT_EUR", _total(lambda row: row["AMOUNT_EUR"])),
            ("TRANSACTION_COUNT", _count),
            ("AVG_AMOUNT_EUR", _average("AMOUNT_EUR")),
            ("EXCHANGE_RATE", _latest("EXCHANGE_RATE")),
        ],
    ),
    "PAYMENT_METHOD_TOTALS": (
        ("PAYMENT_METHOD",),
        [
            ("TOTAL_AMOUNT", _total(lambda row: row["AMOUNT"])),
            ("TRANSACTION_COUNT", _count),
            ("AVG_AMOUNT", _average("AMOUNT")),
        ],
    ),
    "PRODUCT_PURCHASE_COUNTS": (
        ("PRODUCT_ID",),
        [
            ("PRODUCT_NAME", _latest("NAME")),
            ("PRODUCT_CATEGORY", _latest("CATEGORY")),
            ("PURCHASE_COUNT", _total(lambda row: row["QUANTITY"])),
            ("TOTAL_REVENUE", _total(_revenue)),
            ("AVG_PRICE", _average("UNIT_PRICE")),
            ("UNIQUE_BUYERS", _distinct("USER_ID")),
        ],
    ),
}
