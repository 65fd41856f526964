"""How much a test tries of what could be tried: a quarter of it in `make check`, by the profile that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

_T = TypeVar("_T")


def is_quick() -> bool:
    """Whether this is `make check`, by the profile `quick` of conftest.py."""
    return settings.get_current_profile_name() == "quick"


def examples(count: int) -> settings:
    """So many examples of a property, or a quarter; without this a test tries 100, or 25."""
    return settings(max_examples=count // 4 if is_quick() else count)


def some(values: Sequence[_T]) -> Sequence[_T]:
    """All of these cases, or every fourth."""
    return values[::4] if is_quick() else values
