"""Who holds a feed on an object store, and what becomes of those that do not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipeline.errors import (
    FeedLocked,
    FeedLost,
)
from pipeline.lake import lease
from pipeline.lake.lake import Lake
from tests.lake.bucket_lakes import STREAM, lake_of, store_of
from tests.lake.small_tables import add_rows, commit_id, values
from tests.lying_store import Fault, LyingStore
from tests.private_seaweedfs import PrivateSeaweedfs
from tests.support import ROOT, wait_until

pytestmark = pytest.mark.server


def test_a_second_run_is_refused_and_told_who_holds_the_feed(true_lake: Lake) -> None:
    with (
        true_lake.writing(STREAM, {"command": "first"}),
        pytest.raises(FeedLocked, match=r"the feed events is held by another run \(command first\)"),
        true_lake.writing(STREAM, {}),
    ):
        pass


def test_a_run_that_was_killed_on_this_machine_holds_nothing_and_its_leftovers_go(
    root: str, seaweedfs: PrivateSeaweedfs, true_lake: Lake
) -> None:
    with true_lake.writing(STREAM, {}) as table:
        add_rows(table, 1, [(0, 0, 0, "a")])
    killed = subprocess.Popen(
        [sys.executable, "-c", _HOLD, root, repr(seaweedfs.access), repr(seaweedfs.access.secret)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout is not None
    assert killed.stdout.readline() == "held\n"
    with pytest.raises(FeedLocked, match="command killed"), true_lake.writing(STREAM, {}):
        pass
    killed.kill()
    killed.communicate()

    with true_lake.writing(STREAM, {}) as table:
        orphans = [name for name in table.store.names("date=1970-01-01") if commit_id(2) in name]
        assert len(orphans) == 1  # what the killed run has sent may still arrive and name it
        add_rows(table, 3, [(0, 0, 1, "c")])
    with true_lake.writing(STREAM, {}) as table:
        assert table.store.size(f"date=1970-01-01/{orphans[0]}") is None
    assert values(true_lake.table(STREAM)) == ["a", "c"]


def test_a_lease_of_another_machine_is_taken_over_when_it_has_expired_and_its_files_are_kept(
    true_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with true_lake.writing(STREAM, {}) as table:
        add_rows(table, 1, [(0, 0, 0, "a")])
    store, orphan = store_of(true_lake), f"date=1970-01-01/{commit_id(9)}-00000-{'0' * 16}.parquet"
    store.replace("_lock.json", json.dumps({"holder": {"host": "other"}, "process": {"host": "other"}}).encode())
    store.replace(orphan, b"of a run that may live")
    with pytest.raises(FeedLocked, match="host other"), true_lake.writing(STREAM, {}):
        pass

    monkeypatch.setattr(lease, "LEASE_S", -60)
    for _ in range(2):  # the second run's own predecessor has ended, but not surely the one before
        with true_lake.writing(STREAM, {}) as table:
            assert table.remove_orphans(0) == 0

    assert store.size(orphan) is not None
    assert store.names().count("_lock.json.asked") == 0


def test_a_run_whose_lease_was_taken_over_commits_nothing_more(true_lake: Lake) -> None:
    with true_lake.writing(STREAM, {}) as table:
        add_rows(table, 1, [(0, 0, 0, "a")])
        table.store.replace("_lock.json", b"{}")
        with pytest.raises(FeedLost, match="was taken over by another run"):
            add_rows(table, 2, [(0, 0, 1, "b")])

    assert values(true_lake.table(STREAM)) == ["a"]


def test_a_lease_is_renewed_while_its_run_lives(
    root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    renewals: list[str] = []

    def decide(method: str, path: str) -> Fault:
        if method == "PUT" and path.endswith("_lock.json"):
            renewals.append(path)
            return "answer lost" if len(renewals) == 4 else ""
        return ""

    proxy.decide = decide
    with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
        wait_until(lambda: len(renewals) > 8, "renewals, after one whose answer was lost")
        add_rows(table, 1, [(0, 0, 0, "a")])


def test_two_that_change_feeds_wait_for_each_other(true_lake: Lake) -> None:
    with store_of(true_lake).short_lock("x"):
        pass
    with store_of(true_lake).short_lock("x"):
        pass


_HOLD = """
import sys
from pipeline.lake.access import StoreAccess
from pipeline.lake.lake import Lake
from tests.lake.small_tables import add_rows, commit_id, stream_feed
import dataclasses
from pipeline.lake.leftovers import note_moves
access = dataclasses.replace(eval(sys.argv[2]), secret=eval(sys.argv[3]))
lake = Lake(sys.argv[1], print, 0, access=access)
with lake.writing(stream_feed(), {"command": "killed"}) as table:
    orphan = f"date=1970-01-01/{commit_id(2)}-00000-{'0' * 16}.parquet"
    note_moves(table.store, 2, commit_id(2), [orphan])
    table.store.replace(orphan, b"never committed")
    print("held", flush=True)
    sys.stdin.read()
"""
