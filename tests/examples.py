"""How much a test tries of what could be tried: an eighth of it in `make check`, by the profile that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

QUICK_PART = 8
_T = TypeVar("_T")


def is_quick() -> bool:
    """Whether this is `make check`, by the profile `quick` of conftest.py."""
    return settings.get_current_profile_name() == "quick"


def times(count: int) -> int:
    """So many, or an eighth."""
    return count // QUICK_PART if is_quick() else count


def examples(count: int) -> settings:
    """So many examples of a property, or an eighth; without this a test tries 100, or 12."""
    return settings(max_examples=times(count))


def some(values: Sequence[_T]) -> Sequence[_T]:
    """All of these cases, or every eighth."""
    return values[::QUICK_PART] if is_quick() else values
