"""How users are scored and named, computed without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any


def rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def quartiles(users: Iterable[str], value: Callable[[str], Any]) -> dict[str, int]:
    """1 for the lowest quarter to 4; where they do not divide evenly, lower quarters have one more."""
    ranked = sorted(users, key=lambda user: (value(user), user))
    sizes = [len(ranked) // 4 + (quarter < len(ranked) % 4) for quarter in range(4)]
    scores = [quarter for quarter, size in enumerate(sizes, 1) for _ in range(size)]
    return dict(zip(ranked, scores, strict=True))


def segment_of(recency: int, frequency: int, monetary: int) -> str:
    if recency == 4 and frequency >= 3 and monetary >= 3:
        return "champions"
    if recency >= 2 and frequency >= 3:
        return "loyal"
    if recency == 1 and max(frequency, monetary) >= 3:
        return "at risk"
    return "recent" if recency >= 3 else "fading"
