"""Reads that the server breaks off, and topics that are gone: what passes by itself exits 75, what does not exits 1."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.testing import running
from tests.integration.small_sources import START_MS, a_stream, events, export, places, reader_of
from tests.support import feed_for

pytestmark = pytest.mark.server

DAY = dt.datetime.fromtimestamp(START_MS / 1000, dt.UTC).date().isoformat()


FULL, DATE = ("--full",), ("--date", DAY)
LOST_TAIL: dict[str, Any] = {"unsent_after": 20, "elsewhere": True}


@pytest.mark.parametrize(
    ("way", "fault", "message"),
    [
        (FULL, Fault("push", **LOST_TAIL), "reading S again broke off before the bookmark"),
        (DATE, Fault("push", **LOST_TAIL), "reading S again broke off before 30 rows"),
        (FULL, Fault("push", cut_at=900), "the connection broke"),
        (FULL, Fault("push", error_after=20), "the server broke off its answer"),
        (DATE, Fault("push", no_bracket=True), "the answer broke off"),
    ],
    ids=["rows of all that never come", "rows of a day that never come", "cut", "error", "no end"],
)
def test_a_read_of_all_again_that_the_server_breaks_off_may_be_tried_again(
    lake_root: Path, way: tuple[str, ...], fault: Fault, message: str
) -> None:
    source = a_stream(events(50))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        server.faults.add(fault)
        broken = export(lake_root, server, feed, *way)
        assert places(lake_root, feed) == Counter(range(50))
        again = export(lake_root, server, feed, *way)

    assert (broken.returncode, again.returncode) == (75, 0), broken.stderr
    assert message in broken.stderr
    assert places(lake_root, feed) == Counter(range(50))


def test_a_topic_that_was_deleted_needs_a_person(lake_root: Path) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.topic_deleted = True
        for way in ((), ("--full",), ("--dry-run",)):
            gone = export(lake_root, server, feed, *way)
            assert gone.returncode == 1
            assert "the topic s_topic of S does not exist any more" in gone.stderr
            assert "manage_feeds.py archive" in gone.stderr

    assert places(lake_root, feed) == Counter(range(5))


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01"])
def test_the_first_and_the_last_day_of_the_calendar_can_be_read_again(lake_root: Path, day: str) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        done = export(lake_root, server, feed, "--date", day)

    assert done.returncode == 0, done.stderr
    assert places(lake_root, feed) == Counter(range(5))
