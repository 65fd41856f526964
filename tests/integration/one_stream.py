"""A server of one stream with three rows, and a lake that has its feed: fixtures for tests of what a run leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import running
from tests.integration.small_sources import a_stream, events
from tests.support import feed_for, lake_at


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The server's URL."""
    with running(Dataset([a_stream(events(3))])) as emulator:
        yield emulator.url


@pytest.fixture
def lake(lake_root: Path) -> Path:
    lake_at(lake_root).feeds.add(feed_for(a_stream([])))
    return lake_root
