"""Many processes that change feeds at once: none writes over another's change, and none fails because of another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from manage_feeds import create_missing
from pipeline.feeds import parse_feed
from pipeline.lake import feed_store
from pipeline.lake.feed_store import FeedStore
from tests.support import ROOT

_PROCESSES, _CHANGES, _PIPE = 4, 40, subprocess.PIPE
_TAG = """
import sys
from pathlib import Path
from pipeline.lake import feed_store
from pipeline.lake.feed_store import FeedStore
root, me, changes = sys.argv[1:]
for number in range(int(changes)):
    FeedStore(Path(root)).change("f", lambda feed: feed.model_copy(update={"tags": (*feed.tags, f"{me}-{number}")}))
"""
_SYNC = """
import sys
from pathlib import Path
from data_lake_config import DEFAULT_FEEDS
from manage_feeds import create_missing
from pipeline.lake import feed_store
from pipeline.lake.feed_store import FeedStore
print(len(create_missing(FeedStore(Path(sys.argv[1])), DEFAULT_FEEDS)))
"""


def run_at_once(code: str, *arguments: list[str]) -> list[str]:
    """Runs a process for each list of arguments; returns what they print."""
    running = [
        subprocess.Popen([sys.executable, "-c", code, *given], cwd=ROOT, text=True, stdout=_PIPE, stderr=_PIPE)
        for given in arguments
    ]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in running]
    assert [(told, code) for _, told, code in ended] == [("", 0)] * len(arguments)
    return [printed for printed, _, _ in ended]


def test_no_process_writes_over_anothers_change_of_a_feed(lake_root: Path) -> None:
    FeedStore(lake_root).add(parse_feed({"name": "f", "type": "stream", "source": "F"}, "f"))

    run_at_once(_TAG, *[[str(lake_root), str(me), str(_CHANGES)] for me in range(_PROCESSES)])

    tags = FeedStore(lake_root).get("f").tags
    assert sorted(tags) == sorted(f"{me}-{number}" for me in range(_PROCESSES) for number in range(_CHANGES))
    assert [path.name for path in (lake_root / "feeds" / "active").iterdir()] == ["f.json"]


def test_a_default_feed_is_added_by_one_of_many_syncs_at_once(lake_root: Path) -> None:
    added = run_at_once(_SYNC, *[[str(lake_root)]] * _PROCESSES)

    assert sum(map(int, added)) == len(FeedStore(lake_root).list()) == 8


def test_a_feed_whose_view_is_taken_does_not_keep_others_from_being_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"x": "table", "x_current": "stream", "y": "stream"}
    wanted = [parse_feed({"name": name, "type": kind, "source": name.upper()}, name) for name, kind in kinds.items()]

    added = create_missing(FeedStore(tmp_path), wanted)

    assert [feed.name for feed in added] == ["x", "y"]
    assert "skipped x_current: the feed x has a view 'x_current' already" in capsys.readouterr().err


def test_a_feed_that_is_archived_while_feeds_are_listed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeedStore(tmp_path)
    store.add(parse_feed({"name": "f", "type": "stream", "source": "F"}, "f"))
    monkeypatch.setattr(feed_store, "_names", lambda _: ["f.json", "gone.json"])

    assert [feed.name for feed in store.list()] == ["f"]
