"""Python's search for cycles is put off for a while, and only for as long."""

from __future__ import annotations

import gc

import pytest

from pipeline.cycles import without_collections


def test_the_search_goes_on_afterwards_an_error_or_not_and_stays_off_where_it_was() -> None:
    assert gc.isenabled()
    with without_collections():
        assert not gc.isenabled()
        with without_collections():
            pass
        assert not gc.isenabled()
    with pytest.raises(KeyError), without_collections():
        raise KeyError

    assert gc.isenabled()
