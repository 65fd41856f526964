"""One hash for every reader, feed and version."""

from __future__ import annotations

import pytest

from tests.readers.engines import ENGINES
from tests.readers.lake import State, hash_of, made

pytestmark = pytest.mark.long  # all of them together


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[State]:
    return made(tmp_path_factory.mktemp("readers") / "lake")


def test_the_lake_has_states_that_differ(states: list[State]) -> None:
    assert [(state.feed.name, state.rows) for state in states] == [
        ("events", 40), ("events", 80), ("events", 120), ("events", 120), ("totals", 30), ("totals", 90),
    ]  # fmt: skip
    assert len({state.hash for state in states}) == 5  # a compaction changes no row
    assert states[2].paths != states[3].paths


@pytest.mark.parametrize("engine", ENGINES)
def test_every_reader_sees_the_same_rows(engine: str, states: list[State]) -> None:
    seen = 0
    for state in states:
        found = ENGINES[engine](state)
        if found is not None:
            seen += 1
            assert hash_of(found, state.schema) == (state.rows, state.hash), state.name
    assert seen >= 1
