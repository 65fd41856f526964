"""What a commit writes of progress: every identifier, those that stay as they were too, and none that is not meant."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from pipeline.lake.change import Change, Mark, transactions
from pipeline.lake.rule import Rule

NOW = dt.datetime(2026, 11, 20, 6, 0, 0, 123_000, tzinfo=dt.UTC)


def written(change: Change, marks: dict[int, Mark] | None = None, current: int | None = None, known: int = 0) -> Any:
    """The identifiers after a change of a table of `topic`, without those of its rule."""
    rule = Rule(days=30, versions=7)
    made = transactions(change, "topic", marks or {}, current, known, rule, NOW)
    assert {each.last_updated for each in made} == {int(NOW.timestamp() * 1000)}
    told = {each.app_id: each.version for each in made}
    assert told.items() >= rule.transactions().items()
    return {name: version for name, version in told.items() if name not in rule.transactions()}


def test_bookmarks_that_stay_are_written_with_those_that_move() -> None:
    told = written(Change(bookmarks={1: (8, 500)}), {0: (5, 100), 1: (7, 400), 2: (0, None)}, known=3)

    assert told == {
        "topic-partitions": 3, "topic/0": 5, "topic/0/rowtime": 100, "topic/1": 8, "topic/1/rowtime": 500, "topic/2": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("known", "partitions", "bookmarks", "count"),
    [
        (3, None, {}, 3),
        (3, 2, {}, 3),
        (2, 5, {}, 5),
        (0, None, {4: (1, 1)}, 5),
        (0, 2, {1: (1, 1)}, 2),
        (0, None, {}, None),
    ],
)
def test_the_number_of_partitions_never_becomes_less(
    known: int, partitions: int | None, bookmarks: dict[int, Mark], count: int | None
) -> None:
    told = written(Change(bookmarks=bookmarks, partitions=partitions), known=known)

    assert told.get("topic-partitions") == count


def test_a_version_stays_the_current_one_until_another_is_named() -> None:
    assert written(Change(), current=4) == {"current-version": 4}
    assert written(Change(current_version=5), current=4) == {"current-version": 5}
    assert written(Change()) == {}
