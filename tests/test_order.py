"""The order in which tests are run: each worker begins with long ones, and every test is run once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import long_ones_first


class Item:
    def __init__(self, number: int, is_long: bool) -> None:
        self.number, self.is_long = number, is_long

    def get_closest_marker(self, name: str) -> bool:
        return name == "long" and self.is_long


@pytest.mark.parametrize(("count", "long", "workers"), [(100, 9, 3), (101, 10, 3), (100, 10, 1), (7, 6, 3), (2, 1, 4)])
def test_each_worker_begins_with_its_share_of_the_long_ones(count: int, long: int, workers: int) -> None:
    items: list[Any] = [Item(number, number >= count - long) for number in range(count)]

    ordered = long_ones_first(list(items), workers)

    assert sorted(item.number for item in ordered) == list(range(count))
    while workers and len(ordered) >= workers:  # as pytest-xdist deals them out
        part, ordered = ordered[: len(ordered) // workers], ordered[len(ordered) // workers :]
        places = [place for place, item in enumerate(part) if item.is_long]
        assert places == list(range(len(places)))
        workers -= 1
