"""A compaction that is killed, disturbed, or follows an expiry: rows and files are as before it, or as after it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DiskFull, LakeDamaged
from pipeline.lake import disk, local_store, lock, open_file
from pipeline.lake import writer as lake_writer
from pipeline.lake.compaction import compact_part
from pipeline.lake.lake import Lake, Upkeep
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import find_expired, returning, unexpire_feed
from pipeline.verify.files import check_files
from tests.lake.compactions import EVENTS, TODAY, add_days, compact, day, folders
from tests.lake.small_tables import (
    NOW,
    add_rows,
    commit_id,
    stream_feed,
    values,
)
from tests.support import cleaned, folder_of, lake_at


def test_a_run_that_dies_keeps_the_commits_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [4, 3, 2, 1])
    old = values(table)
    monkeypatch.setattr("pipeline.lake.compaction._MOST_FILES", 3)
    parts = itertools.count()

    def die_at_the_third(*args: object) -> bool:
        if next(parts) == 2:
            raise KeyboardInterrupt
        return compact_part(*args)  # type: ignore[arg-type] # as it is called

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.compaction.compact_part", die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path)
    assert folders(lake_at(tmp_path).table(EVENTS)) == [day(4), day(3), *[day(2)] * 3, *[day(1)] * 3]

    assert compact(tmp_path, number=901).commits == 2
    assert folders(lake_at(tmp_path).table(EVENTS)) == [day(4), day(3), day(2), day(1)]
    assert values(lake_at(tmp_path).table(EVENTS)) == old


def test_an_export_gets_in_between_two_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_days(lake_at(tmp_path).table(EVENTS), [2, 1])
    monkeypatch.setattr("pipeline.lake.compaction._MOST_FILES", 1)
    holds, hold = itertools.count(), Lake.writing

    def export_first(lake: Lake, *arguments: Any) -> AbstractContextManager[LakeTable]:
        if next(holds) == 1:
            with hold(lake, *arguments) as table:
                add_rows(table, 77, [(TODAY, 0, 77, "of an export")])
        return hold(lake, *arguments)

    monkeypatch.setattr(Lake, "writing", export_first)

    assert compact(tmp_path).commits == 2
    table = lake_at(tmp_path).table(EVENTS)
    assert [entry["pipeline"]["kind"] for entry in table.history()[:3]] == ["compact", "stream", "compact"]
    assert len(values(table)) == 13
    assert table.bookmarks()[0].next_offset == 78


def test_a_full_disk_in_the_middle_leaves_the_lake_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [3, 2, 1])
    calls = itertools.count()

    def full_at_the_second(path: Path) -> None:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.open_file.sync_file", full_at_the_second)
        with pytest.raises(DiskFull):
            compact(tmp_path)

    assert list(folder_of(table).rglob("*.staged")) == []
    assert lake_at(tmp_path).table(EVENTS).files == table.files
    assert compact(tmp_path, number=901).commits == 1


class _Killed(BaseException):
    """What no code catches; after it this process changes no file any more."""


@pytest.mark.long
def test_killed_at_each_step_it_leaves_the_old_files_or_the_new_ones_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake_at(tmp_path).feeds.add(EVENTS)
    with lake_at(tmp_path).writing(EVENTS, {"since": NOW.isoformat()}) as table:
        add_days(table, [2, 1], commits=2)
    before, old, marks = tmp_path / "before", values(table), table.bookmarks()
    shutil.copytree(tmp_path, before, ignore=lambda *_: ["before"])
    outcomes = list[int]()
    for number in itertools.count(2, 3):
        root = tmp_path / f"killed-{number}"
        shutil.copytree(before, root)
        with monkeypatch.context() as patched, contextlib.suppress(_Killed):
            _kill_at(patched, number)
            compact(root, grace_hours=0)
            break
        after = lake_at(root).table(EVENTS)
        assert (values(after), after.bookmarks()) == (old, marks), number
        outcomes.append(len(after.files))
        cleaned(root, EVENTS, 0)
        named = {folder_of(after) / file.path for file in lake_at(root).table(EVENTS).files}
        assert set(folder_of(after).glob("*/*.parquet")) == named, number
        assert list((folder_of(after) / "_staging").rglob("*")) == [], number
        shutil.rmtree(root)

    assert len(outcomes) > 8
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {2, 4}


def _kill_at(patched: pytest.MonkeyPatch, number: int) -> None:
    """Has this process die at that step by which it changes files."""
    steps = itertools.count(1)

    def stepping(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any) -> Any:
            if next(steps) >= number:
                raise _Killed
            return act(*given)

        return step

    names = ("sync_file", "sync_folder", "link_file", "move_file", "write_file", "delete_file", "delete_folder")
    acts = {name: stepping(getattr(disk, name)) for name in names}
    for module, name in itertools.product((disk, local_store, lock, open_file, lake_writer), names):
        if hasattr(module, name):
            patched.setattr(module, name, acts[name])


def test_rows_that_would_be_lost_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [1])
    monkeypatch.setattr("pipeline.lake.compaction.in_order", lambda rows, _: [batch.slice(1) for batch in rows])

    with pytest.raises(LakeDamaged, match="and files beside it have 3 rows, 6 were written"):
        compact(tmp_path)

    assert lake_at(tmp_path).table(EVENTS).files == table.files


def test_what_expired_before_a_compaction_comes_back_after_it(tmp_path: Path) -> None:
    short, long = stream_feed(retention_days=5), stream_feed(retention_days=365)
    table = lake_at(tmp_path).table(long)
    add_days(table, [9, 1])
    old = values(table)
    expire(lake_at(tmp_path).table(short), commit_id(50), NOW, max_share=1)

    compact(tmp_path, long)
    upkeep = Upkeep(lake_at(tmp_path), {}, commit_id(60), NOW, 1)
    assert unexpire_feed(upkeep, long).row_count == 6
    assert values(lake_at(tmp_path).table(long)) == old

    compact(tmp_path, long, number=902)
    assert folders(lake_at(tmp_path).table(long)) == [day(9), day(1)]
    found = returning(lake_at(tmp_path).table(long), upkeep)  # the files that came back are gone again, not their rows
    assert (found.files, found.lost) == ([], {})


def test_what_expired_after_a_compaction_comes_back(tmp_path: Path) -> None:
    short, long = stream_feed(retention_days=5), stream_feed(retention_days=365)
    add_days(lake_at(tmp_path).table(long), [9, 1])
    old = values(lake_at(tmp_path).table(long))
    compact(tmp_path, long)
    expire(lake_at(tmp_path).table(short), commit_id(950), NOW, max_share=1)

    assert find_expired(lake_at(tmp_path).table(long), NOW, 168).row_count == 6
    unexpire_feed(Upkeep(lake_at(tmp_path), {}, commit_id(951), NOW, 1), long)

    assert values(lake_at(tmp_path).table(long)) == old
    assert check_files(lake_at(tmp_path).table(long)).findings == ()
