"""A lake with something missing or broken: said in a sentence with a hint, and never taken for a new one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import deltalake
import pytest

from pipeline.columns import Column
from pipeline.damage import find_damage
from pipeline.errors import ColumnUnnamed, LakeDamaged, LogDamaged, VersionsUsedUp, WrongUsage
from pipeline.export.witness import _rows_at
from pipeline.ksqldb.sqltypes import parse_type
from pipeline.lake.columns import annotated_schema
from pipeline.lake.rewrite import roll_back, rows_not_in
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import MAX_VERSION, check_version, next_version
from pipeline.verify import files
from tests.lake.small_tables import NOW, add_rows, add_version, commit_id, glob, stream_feed, table_feed, values
from tests.support import cleaned, folder_of, lake_at


@pytest.mark.parametrize("lost", ["the folder", "its entries"])
@pytest.mark.parametrize("opening", [lambda root, feed: lake_at(root).table(feed), cleaned])
def test_a_lost_log_beside_data_files_is_no_new_feed(
    tmp_path: Path, lost: str, opening: Callable[..., LakeTable]
) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    log = folder_of(table) / "_delta_log"
    shutil.rmtree(log)
    if lost == "its entries":
        log.mkdir()

    with pytest.raises(LogDamaged) as raised:
        opening(tmp_path, stream_feed())

    assert raised.value.exit_code == 1
    assert f"{log} is lost" in raised.value.message
    assert "python metadata_utils.py repair events" in raised.value.hint
    assert len(glob(table)) == 1


def test_a_log_of_which_the_checkpoint_is_left_is_read(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    for entry in (folder_of(table) / "_delta_log").glob("*.json"):
        entry.unlink()

    again = lake_at(tmp_path).table(stream_feed())

    assert (values(again), again.newest_at) == (["a"], None)


def test_what_a_first_run_leaves_before_its_first_commit_is_a_new_feed(tmp_path: Path) -> None:
    folder = tmp_path / "streams" / "events"
    (folder / "_staging" / "run").mkdir(parents=True)
    (folder / "_staging" / "run" / "00000.staged").touch()
    (folder / "_lock").touch()

    assert not cleaned(tmp_path, stream_feed(), 1).exists
    assert not (folder / "_staging").exists()


def test_the_log_is_deleted_after_the_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (86_400_000, 0, 1, "b")])
    deleted, real = list[str](), shutil.rmtree

    def spy(path: Path) -> None:
        deleted.append(path.name)
        real(path)

    monkeypatch.setattr(shutil, "rmtree", spy)
    table.store.delete_all()

    assert deleted[-1] == "_delta_log"


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b"no parquet")], ids=["missing", "damaged"]
)
@pytest.mark.parametrize("reader", ["read_batches", "rows_not_in", "witness"])
def test_a_missing_or_damaged_file_is_named_with_what_helps(
    tmp_path: Path, harm: Callable[[Path], object], reader: str
) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    (path,) = glob(table)
    harm(path)
    read = {
        "read_batches": lambda: values(table),
        "rows_not_in": lambda: list(rows_not_in(table, table.files, [])),
        "witness": lambda: list(_rows_at(table, {(0, 0)})),
    }[reader]

    with pytest.raises(LakeDamaged) as raised:
        read()

    assert str(path) in raised.value.message
    assert "python metadata_utils.py repair events" in raised.value.hint
    assert "Parquet magic" not in raised.value.message


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b"no parquet")], ids=["missing", "damaged"]
)
def test_a_damaged_version_is_not_published_again(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a"])
    add_version(table, 2, ["a", "b"])
    harm(folder_of(table) / table.versions()[1][0].path)

    with pytest.raises(LakeDamaged) as raised:
        roll_back(table, 1, commit_id(3), NOW)

    assert (raised.value.exit_code, "repair totals" in raised.value.hint) == (1, True)
    assert table.current_version == 2


def test_a_file_is_read_once_to_find_what_is_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, read = stream_feed(), list[str]()
    table = lake_at(tmp_path).table(feed)
    for commit in (1, 2):
        add_rows(table, commit, [(0, commit, commit, "a")])
    real = files.file_problem
    monkeypatch.setattr(files, "file_problem", lambda store, file: (read.append(file.path), real(store, file))[1])

    assert not find_damage(lake_at(tmp_path), feed, NOW).found

    assert len(read) == len(set(read)) == 2


@pytest.mark.parametrize(
    "type_",
    [
        "STRUCT<`` BIGINT>",
        "ARRAY<STRUCT<`A` STRUCT<`` BIGINT>>>",
        "MAP<STRING, STRUCT<`A` BIGINT, `` BIGINT>>",
    ],
)
def test_a_field_without_a_name_is_refused(type_: str) -> None:
    """It would break `views.sql`, for all feeds."""

    with pytest.raises(ColumnUnnamed, match="a field of c of the source has an empty name"):
        annotated_schema([Column("C", parse_type(type_))])


def test_versions_end_before_their_column_does(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, MAX_VERSION, ["a"])
    assert next_version(table) == MAX_VERSION + 1
    add_version(table, 2**31 - 1, ["a"])  # of earlier versions of this package

    with pytest.raises(VersionsUsedUp, match="no higher one can be stored"):
        next_version(table)


def test_a_version_that_would_use_the_numbers_up_is_refused(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())

    assert check_version(table, MAX_VERSION) == MAX_VERSION
    for wanted in (MAX_VERSION + 1, 2**31 - 1, 2**63):
        with pytest.raises(WrongUsage, match="is no version"):
            check_version(table, wanted)
