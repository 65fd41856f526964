"""How many examples a property test tries: a quarter of them in `make check`, by the profile that it names."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    """So many, or a quarter in the profile `quick` of conftest.py; without this a test tries 100, or 25."""
    return settings(max_examples=count // 4 if settings.get_current_profile_name() == "quick" else count)
