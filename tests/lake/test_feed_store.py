"""Feeds on disk: what is refused, what is kept, and many processes that change them at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.testing import PATIENCE_S
from pipeline.errors import FeedExists, FeedInvalid, FeedUnknown
from pipeline.feed_changes import create_missing, feeds_of
from pipeline.feeds import parse_feed
from pipeline.lake.feed_store import FeedStore
from tests.forked import run_forked
from tests.lake.small_tables import stream_feed, table_feed
from tests.support import ROOT, lake_at

_PROCESSES, _CHANGES = 4, 40


def run_at_once(act: str, root: Path) -> list[str]:
    """Does `act` in several processes; what they print."""
    program = ROOT / "tests" / "lake" / "feeds_at_once.py"
    done = run_forked(program, [act, str(root), str(_PROCESSES), str(_CHANGES)], os.environ, ROOT, PATIENCE_S)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.split()


@pytest.mark.long
def test_no_process_writes_over_anothers_change_of_a_feed(lake_root: Path) -> None:
    lake_at(lake_root).feeds.add(parse_feed({"name": "f", "type": "stream", "source": "F"}, "f"))

    run_at_once("tag", lake_root)

    tags = lake_at(lake_root).feeds.get("f").tags
    assert sorted(tags) == sorted(f"{me}-{number}" for me in range(_PROCESSES) for number in range(_CHANGES))
    assert [path.name for path in (lake_root / "feeds" / "active").iterdir()] == ["f.json"]


@pytest.mark.long
def test_a_default_feed_is_added_by_one_of_many_syncs_at_once(lake_root: Path) -> None:
    added = run_at_once("sync", lake_root)

    assert len(added) == _PROCESSES
    assert sum(map(int, added)) == len(lake_at(lake_root).feeds.list().feeds) == 8


def test_a_feed_whose_view_is_taken_does_not_keep_others_from_being_made(tmp_path: Path) -> None:
    kinds = {"x": "table", "x_current": "stream", "y": "stream"}
    wanted = [parse_feed({"name": name, "type": kind, "source": name.upper()}, name) for name, kind in kinds.items()]

    said: list[str] = []
    added = create_missing(lake_at(tmp_path).feeds, wanted, said.append)

    assert [feed.name for feed in added] == ["x", "y"]
    assert said == ["skipped x_current: the feed x has a view 'x_current' already"]


def test_a_feed_that_is_archived_while_feeds_are_listed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = lake_at(tmp_path).feeds
    store.add(parse_feed({"name": "f", "type": "stream", "source": "F"}, "f"))
    monkeypatch.setattr(FeedStore, "_names", lambda *_: ["f.json", "gone.json"])

    assert [feed.name for feed in store.list().feeds] == ["f"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../x"},
        {"name": "UPPER"},
        {"source": "a; DROP STREAM b"},
        {"source": "a`b"},
        {"unknown": 1},
        {"storage_mode": "OVERWRITE"},
        {"partitioning": "version"},
        {"retention_versions": 3},
        {"retention_days": 0},
        {"warehouse": {"fact": "f", "keys": ["k"], "columns": {"k": "k"}}},
    ],
)
def test_a_feed_that_breaks_a_rule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FeedInvalid):
        stream_feed(**wrong)


def test_feeds_are_kept_moved_and_never_overwritten(tmp_path: Path) -> None:
    store = lake_at(tmp_path).feeds
    store.add(stream_feed())
    with pytest.raises(FeedExists):
        store.add(stream_feed())
    store.archive("events")
    assert store.list() == ((), ())
    with pytest.raises(FeedExists, match="archived"):
        store.add(stream_feed())
    with pytest.raises(FeedUnknown) as raised:
        store.get("events")
    assert "restore events" in raised.value.hint
    store.restore("events")
    assert store.get("events") == stream_feed()
    store.delete("events")
    with pytest.raises(FeedUnknown):
        store.delete("events")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("EVENTS", "there is events; all of them: python manage_feeds.py list"),
        ("Evnets", "there is events; all of them: python manage_feeds.py list"),
        ("event.json", "there is events; all of them: python manage_feeds.py list"),
        ("OLD", "it is archived: python manage_feeds.py restore old"),
        ("nope", "python manage_feeds.py list"),
        ("t1", "python manage_feeds.py list"),
        ("e", "python manage_feeds.py list"),
    ],
)
def test_a_name_that_is_like_no_feeds_is_not_said_to_be(tmp_path: Path, wrong: str, hint: str) -> None:
    store = lake_at(tmp_path).feeds
    for name in ("events", "s1-totals", "old"):
        store.add(stream_feed(name=name))
    store.archive("old")

    with pytest.raises(FeedUnknown) as raised:
        store.get(wrong)

    assert raised.value.hint == hint


@pytest.mark.parametrize("archived", [False, True])
def test_two_feeds_never_have_one_view(tmp_path: Path, archived: bool) -> None:
    store = lake_at(tmp_path).feeds
    store.add(table_feed())
    if archived:
        store.archive("totals")

    for name in ("totals_current", "totals_history"):
        with pytest.raises(FeedExists, match=f"the feed totals has a view '{name}' already"):
            store.add(stream_feed(name=name))
    store.add(table_feed(name="totals_current"))


def test_sources_whose_views_would_clash_are_left_to_a_person() -> None:
    found, unnamed = feeds_of({"X": "table", "X_CURRENT": "stream", "TOTALS_HISTORY": "stream"}, [table_feed()])

    assert [feed.name for feed in found] == ["x"]
    assert unnamed == ["TOTALS_HISTORY", "X_CURRENT"]


def test_a_feed_file_under_another_name_is_refused(tmp_path: Path) -> None:
    store = lake_at(tmp_path).feeds
    store.add(stream_feed())
    (tmp_path / "feeds/active/events.json").rename(tmp_path / "feeds/active/other.json")

    feeds, (lost,) = store.list()

    assert (feeds, lost.name) == ((), "other")
    assert "holds the feed 'events'" in lost.error.message
