"""A lake that is copied to another place: the same rows, bookmarks and history there, whatever happens on the way."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import LakeDamaged
from pipeline.lake import copy as lake_copy
from pipeline.lake import table_copy
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.copy import LakeCopy
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.lake import Lake, Upkeep
from pipeline.lake.local_store import LocalStore
from pipeline.lake.store import Store
from pipeline.lake.stores import open_store
from pipeline.lake.unexpire import unexpire_feed
from pipeline.progress import Meter
from pipeline.verify.files import check_files
from tests.lake.copies import (
    EVENTS,
    TODAY,
    TOTALS,
    Killed,
    add_more,
    contents,
    copy_lake,
    dying,
    fill,
    lake_in,
    rows_of,
)
from tests.lake.small_tables import NOW, add_rows, commit_id, values
from tests.private_seaweedfs import PrivateSeaweedfs

pytestmark = pytest.mark.long  # all of them together

Made = Callable[[str], Store]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Makes places: `disk...` is a folder, `s3...` a prefix of a bucket."""

    def made(name: str) -> Store:
        if name.startswith("disk"):
            return LocalStore(tmp_path / name)
        server: PrivateSeaweedfs = request.getfixturevalue("seaweedfs")
        store = open_store(f"s3://lakes/{tmp_path.name}/{name}", server.access)
        store.replace("probe", b"")  # makes the bucket
        store.delete("probe")
        return store

    return made


ON_S3 = pytest.mark.server
WAYS = [("disk", "disk2"), pytest.param("disk", "s3", marks=ON_S3), pytest.param("s3", "disk", marks=ON_S3)]


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_a_copy_has_everything_and_goes_on_from_the_bookmark(place: Made, here: str, there: str) -> None:
    source, target = place(here), place(there)
    old = fill(source)

    done = copy_lake(source, target)

    new = lake_in(target)
    for feed in (EVENTS, EVENTS.of_unreadable(), TOTALS):
        ours, theirs = old.table(feed), new.table(feed)
        assert (theirs.head, theirs.history(), theirs.bookmarks()) == (ours.head, ours.history(), ours.bookmarks())
        assert rows_of(theirs) == rows_of(ours)
        assert check_files(theirs).findings == ()
        assert json.loads(theirs.store.read("_metadata.json")) == json.loads(ours.store.read("_metadata.json")) | {
            "location": theirs.uri()
        }
    assert [feed.name for feed in new.feeds.list().feeds] == ["events", "never"]
    assert [feed.name for feed in new.feeds.list(archived=True).feeds] == ["totals"]
    assert [run.command for run in new.runs.newest(9)] == ["an export"]
    assert target.uri() in target.read("views.sql").decode()
    assert (done["events"].totals.row_count, done["never"].delta_version) == (3, None)
    assert done["totals"].fingerprint != done["events"].fingerprint
    assert set(target.names()) - {".views.lock"} == set(source.names()) - {".views.lock", "logs"}

    add_more(new, 6)
    upkeep = Upkeep(new, {}, commit_id(9), NOW, 1)
    assert unexpire_feed(upkeep, EVENTS).row_count == 3
    assert values(new.table(EVENTS)) == sorted([*(f"{n}-{ago}" for n in range(3) for ago in (200, 1)), "more-6"])
    assert check_files(new.table(EVENTS)).findings == ()


def test_the_lake_that_is_copied_is_not_changed(tmp_path: Path) -> None:
    source = LocalStore(tmp_path / "old")
    fill(source)
    before = contents(tmp_path / "old")

    copy_lake(source, LocalStore(tmp_path / "new"))

    assert contents(tmp_path / "old") == before


@pytest.mark.parametrize(("here", "there"), [("disk", "disk2"), pytest.param("disk", "s3", marks=ON_S3)])
def test_a_second_copy_brings_what_is_new_and_nothing_else(place: Made, here: str, there: str) -> None:
    source, target = place(here), place(there)
    old = fill(source)
    first = copy_lake(source, target)
    assert first["events"].copied == first["events"].totals

    assert {one.copied.file_count for one in copy_lake(source, target).values()} == {0}

    add_more(old, 6)
    old.runs.end("20261120T060000Z-00000001", NOW, {"exit_code": 0})
    old.feeds.restore("totals")
    again = copy_lake(source, target)
    assert (again["events"].copied.file_count, again["totals"].copied.file_count) == (1, 0)
    new = lake_in(target)
    assert rows_of(new.table(EVENTS)) == rows_of(old.table(EVENTS))
    assert [run.exit_code for run in new.runs.newest(9)] == [0]
    assert new.feeds.list() == old.feeds.list()
    assert new.feeds.list(archived=True).feeds == ()


def _of_a_version(lake_root: Store, versions: list[list[str]]) -> bool:
    """Whether the stream is there: as it was at one of the versions, with all its files."""
    if not lake_root.names("streams/events/_delta_log"):
        return False
    table = lake_in(lake_root).table(EVENTS)
    assert rows_of(table) in versions
    assert check_files(table).findings == ()
    return True


@pytest.mark.parametrize(("there", "every"), [("disk2", 5), pytest.param("s3", 17, marks=ON_S3)])
def test_killed_at_each_step_it_leaves_no_table_or_a_whole_one_and_goes_on(place: Made, there: str, every: int) -> None:
    source = place("disk")
    old = fill(source)
    versions = [list[str]()]
    for number in range(1, old.table(EVENTS).delta_version + 1):
        table = old.table(EVENTS)
        versions.append(sorted(str(r) for b in table.read_batches(table.files_at(number)) for r in b.to_pylist()))
    seen = list[bool]()
    for step in itertools.count(1, every):
        target = place(f"{there}-{step}")
        with contextlib.suppress(Killed):
            copy_lake(source, dying(target, step))
            break
        seen.append(_of_a_version(target, versions))
        if any(feed.name == "events" for feed in FeedStore(target).list().feeds):
            assert lake_in(target).table(EVENTS).head == old.table(EVENTS).head
        copy_lake(source, target)
        for feed in (EVENTS, EVENTS.of_unreadable(), TOTALS):
            assert lake_in(target).table(feed).head == old.table(feed).head, step
            assert check_files(lake_in(target).table(feed)).findings == (), step
    assert len(seen) * every > 60
    assert seen == sorted(seen)


def test_killed_again_and_again_while_the_lake_is_exported_it_ends_with_the_same_rows(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old, lives = fill(source), 0
    while True:
        with contextlib.suppress(Killed):
            copy_lake(source, dying(target, 6 + 2 * lives))
            break
        if lives < 6:
            add_more(old, 6 + lives)
        lives += 1

    assert lives > 6
    assert rows_of(lake_in(target).table(EVENTS)) == rows_of(old.table(EVENTS))


def test_a_file_that_is_damaged_there_is_copied_again(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old = fill(source)
    copy_lake(source, target)
    path = tmp_path / "new" / "streams" / "events" / old.table(EVENTS).files[0].path
    path.write_bytes(bytes(path.stat().st_size))

    assert copy_lake(source, target)["events"].copied.file_count == 1
    assert check_files(lake_in(target).table(EVENTS)).findings == ()


@pytest.mark.parametrize("days", ["date=2026-11", "date=2026-05"], ids=["a file", "a file of older versions"])
def test_what_arrives_damaged_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    fill(source)
    real = LocalStore.take_in

    def lossy(store: LocalStore, moves: dict[str, Path]) -> None:
        for staged in [path for name, path in moves.items() if name.startswith(days)]:
            staged.write_bytes(bytes(staged.stat().st_size))
        real(store, moves)

    with monkeypatch.context() as patched, pytest.raises(LakeDamaged, match=r"is not what was copied: .*parquet"):
        patched.setattr(LocalStore, "take_in", lossy)
        copy_lake(source, target)

    assert FeedStore(target).readable() == ()
    copy_lake(source, target)
    assert len(FeedStore(target).readable()) == 3


def test_a_damaged_file_of_the_lake_is_named_and_its_feed_is_not_there(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old = fill(source)
    path = tmp_path / "old" / "streams" / "events" / old.table(EVENTS).files[0].path
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(LakeDamaged, match=f"{path} is not what was written") as raised:
        copy_lake(source, target)

    assert "repair events" in raised.value.hint
    assert not lake_in(target).table(EVENTS).exists
    path.unlink()
    with pytest.raises(LakeDamaged, match=f"{path} is missing"):
        copy_lake(source, target)


def test_a_damaged_file_that_only_older_versions_need_is_left_out(tmp_path: Path) -> None:
    source, target, said = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new"), list[str]()
    old = fill(source)
    gone = next(file for file in old.table(EVENTS).files_at(3) if file not in old.table(EVENTS).files)
    (tmp_path / "old" / "streams" / "events" / gone.path).write_bytes(bytes(gone.size_bytes))

    copy_lake(source, target, said.append)

    assert ["left out" in line and gone.path in line for line in said] == [True]
    assert rows_of(lake_in(target).table(EVENTS)) == rows_of(old.table(EVENTS))


def test_files_that_a_run_deletes_meanwhile_are_copied_as_they_are_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old, real, times = fill(source), table_copy.copy_table, itertools.count()
    without_grace = Lake("", lambda _: None, 0, source)

    def compacted_first(*given: object) -> object:
        if next(times) == 1:  # of the stream itself
            with without_grace.writing(EVENTS, {}) as table:
                compact_part(table, Goal(10**6), commit_id(900), NOW, Compacted("events"))
                add_rows(table, 901, [(TODAY, 0, 6, "more")])
            with without_grace.writing(EVENTS, {}):
                """Deletes the files that were compacted."""
        return real(*given)  # type: ignore[arg-type] # as it is called

    monkeypatch.setattr(lake_copy, "copy_table", compacted_first)

    copy_lake(source, target)

    assert next(times) == 5  # twice for the stream, once for the table
    table = lake_in(target).table(EVENTS)
    assert (table.head, "more" in values(table)) == (old.table(EVENTS).head, True)
    assert check_files(table).findings == ()


def test_a_feed_that_was_exported_since_is_said_to_be_behind(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old = fill(source)
    copy = LakeCopy(source, target, {}, lambda _: None)
    done = copy.copy_feed(EVENTS, Meter("events"))
    assert not copy.is_behind(done)

    add_more(old, 6)

    assert copy.is_behind(done)
