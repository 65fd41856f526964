"""A table's log that is copied: with its checkpoints, also those that are written while it is copied."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pytest

from pipeline.errors import LakeDamaged
from pipeline.lake import table_copy
from pipeline.lake.local_store import LocalStore
from tests.lake.copies import EVENTS, copy_lake, fill, lake_in
from tests.lake.small_tables import NOW, add_version, table_feed
from tests.support import folder_of

pytestmark = pytest.mark.long  # all of them together


def test_a_log_with_checkpoints_and_without_its_first_entries_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.lake.table.CHECKPOINT_EVERY", 3)
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    old, new, feed = lake_in(source), lake_in(target), table_feed(retention_versions=2)
    old.feeds.add(feed)
    for version in range(1, 15):
        with old.writing(feed, {"since": (NOW + dt.timedelta(days=9 * version)).isoformat()}) as table:
            add_version(table, version, ["k"], days=9 * version)
        if version in (2, 5, 8, 14):
            copy_lake(source, target)
            ours, theirs = old.table(feed), new.table(feed)
            assert (theirs.head, theirs.files, theirs.history()) == (ours.head, ours.files, ours.history()), version
            log = f"{feed.kind_folder}/{feed.name}/_delta_log"
            assert set(target.names(log)) >= set(source.names(log))
            assert min(target.names(log)) == min(source.names(log))
    assert "0" * 20 + ".json" not in target.names(log)


def when_copied(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Does something between the look at a table's head and its copying."""
    real = table_copy.copy_table

    def do_and_copy(*arguments: Any) -> Any:
        do()
        return real(*arguments)

    monkeypatch.setattr("pipeline.lake.copy.copy_table", do_and_copy)


def test_a_checkpoint_that_is_written_meanwhile_makes_no_other_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy's head is read from the checkpoint then, and has all fields that Delta knows, most of them null."""
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    table = fill(source).table(EVENTS)

    def sum_up() -> None:
        if not list((folder_of(table) / "_delta_log").glob("*.parquet")):
            deltalake.DeltaTable(folder_of(table)).create_checkpoint()

    when_copied(monkeypatch, sum_up)
    copy_lake(source, target)

    theirs = lake_in(target).table(EVENTS)
    assert theirs.files == table.files
    assert [name for name in theirs.store.names("_delta_log") if name.endswith("checkpoint.parquet")]


def test_other_settings_of_the_table_are_another_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = LocalStore(tmp_path / "old"), LocalStore(tmp_path / "new")
    fill(source)
    real = table_copy.stage_bytes

    def stage_changed(data: bytes, path: Path) -> Path:
        return real(data.replace(b"400 days", b"401 days"), path)

    monkeypatch.setattr(table_copy, "stage_bytes", stage_changed)

    with pytest.raises(LakeDamaged, match="its log is another one"):
        copy_lake(source, target)
