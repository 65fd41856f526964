"""Where a lake may be copied to: an empty place, or an earlier copy of it; and what those who use the copy find."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_lake_config import DEFAULT_FEEDS
from pipeline.errors import LakeMissing, NotACopy, WrongUsage
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.lake import Lake
from pipeline.lake.local_store import LocalStore
from pipeline.warehouse.sources import lake_snapshot
from tests.lake.copies import EVENTS, NEVER, add_more, contents, copy_lake, fill, lake_in, rows_of
from tests.lake.small_tables import NOW, add_version, commit_id, glob
from tests.support import run_script

pytestmark = pytest.mark.long  # all of them together


def test_a_copy_that_was_exported_to_is_left_alone(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old = fill(source)
    copy_lake(source, target)
    add_more(lake_in(target), 6)
    rows = rows_of(lake_in(target).table(EVENTS))

    with pytest.raises(NotACopy, match="has commits of its own, up to version 5: it is in use"):
        copy_lake(source, target)
    add_more(old, 6)  # both have gone on, as far as each other
    add_more(old, 7)
    with pytest.raises(NotACopy, match="commits of its own"):
        copy_lake(source, target)

    assert rows_of(lake_in(target).table(EVENTS)) == rows


def test_another_lake_is_left_alone(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    fill(source)
    fill(target)
    before = contents(tmp_path / "new")

    with pytest.raises(NotACopy, match="is another table of that name") as raised:
        copy_lake(source, target)

    assert (raised.value.exit_code, raised.value.hint) == (2, "name an empty place, or an earlier copy")
    assert contents(tmp_path / "new") == before


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("photos/1.jpg", "new/photos is no part of a lake", "or an earlier copy"),
        ("feeds/active/other.json", "other.json is a feed that the lake does not have", "manage_feeds.py delete other"),
        ("tables/other/_delta_log/0.json", "tables/other is data of no feed of the lake", "move this folder away"),
        ("tables/events/_lock", "tables/events is data of no feed of the lake", "move this folder away"),
    ],
)
def test_a_place_with_something_else_is_left_alone(tmp_path: Path, name: str, message: str, hint: str) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    fill(source)
    target.replace(name, b"{}")

    with pytest.raises(NotACopy, match=message) as raised:
        copy_lake(source, target)

    assert hint in raised.value.hint
    assert list(contents(tmp_path / "new")) == [name]


def test_a_lake_whose_feeds_were_made_and_never_exported_is_taken(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    fill(source)
    lake_in(target).make_folders()
    for feed in (EVENTS, NEVER):
        lake_in(target).feeds.add(feed)
    (tmp_path / "new" / "lost+found").mkdir()

    copy_lake(source, target)

    assert lake_in(target).table(EVENTS).exists


@pytest.mark.parametrize("archived", [False, True])
def test_a_feed_that_the_lake_has_deleted_since_an_earlier_copy_is_deleted_there_by_the_hint(
    tmp_path: Path, archived: bool
) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old, name = fill(source), "totals" if archived else "events"
    copy_lake(source, target)
    old.feeds.delete(name)

    with pytest.raises(NotACopy, match=f"{name}.json is a feed that the lake does not have") as raised:
        copy_lake(source, target)
    setting, command = raised.value.hint.partition("delete it there: ")[2].split(" python ")
    done = run_script(*command.split(), env=dict([setting.split("=")]))
    copy_lake(source, target)

    assert (done.returncode, setting) == (0, f"LAKE_ROOT={tmp_path / 'new'}")
    assert name not in {feed.name for feed in lake_in(target).feeds.readable()}


@pytest.mark.parametrize("there", ["", "old", "old/inside", "old/../old"])
def test_a_lake_is_not_copied_into_itself(tmp_path: Path, there: str) -> None:
    source = LocalStore(tmp_path / "old")
    fill(source)

    with pytest.raises(WrongUsage, match="into itself"):
        copy_lake(source, LocalStore(tmp_path / there))


def test_what_is_no_lake_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(LakeMissing):
        copy_lake(LocalStore(tmp_path / "nothing"), LocalStore(tmp_path / "new"))


def test_the_warehouse_knows_the_versions_of_a_copy_as_those_of_the_lake(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old, mapped = fill(source), next(feed for feed in DEFAULT_FEEDS if feed.warehouse)
    old.feeds.add(mapped)
    with old.writing(mapped, {}) as table:
        add_version(table, 1, ["a"])
    copy_lake(source, target)

    ours, theirs = (lake_snapshot(lake.table(mapped), 1) for lake in (old, lake_in(target)))

    assert ours.lake_id
    names = ("lake_id", "lake_version", "lake_files", "lake_newest", "taken_at")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


def test_files_that_the_lake_has_deleted_since_an_earlier_copy_are_deleted_by_the_first_export(tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    fill(source)
    copy_lake(source, target)
    without_grace = Lake("", lambda _: None, 0, source)
    with without_grace.writing(EVENTS, {}) as table:
        compact_part(table, Goal(10**6), commit_id(900), NOW, Compacted("events"))
    with without_grace.writing(EVENTS, {}):
        """Deletes the files that were compacted."""
    copy_lake(source, target)
    (copied,) = lake_in(target).table(EVENTS).files
    assert len(glob(lake_in(target).table(EVENTS))) == 7

    with Lake("", lambda _: None, 0, target).writing(EVENTS, {}) as table:
        table.remove_orphans(0)

    assert [path.name for path in glob(table)] == [copied.path.rpartition("/")[2]]
