"""What expired comes back once, as it was, and whole; what cannot come back is counted, with the reason."""

from __future__ import annotations

import datetime as dt
import errno
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.columns import KSQLDB_NAME, KSQLDB_TYPE
from pipeline.errors import DiskFull, NothingReturns
from pipeline.fingerprint import total
from pipeline.lake.change import Change
from pipeline.lake.lake import Upkeep
from pipeline.lake.rewrite import rewrite, widen
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import returning, unexpire_feed
from pipeline.lake.writer import StagedFile, StagedWriter
from pipeline.verify.files import check_files
from tests.lake.expiries import (
    FEW,
    LONG,
    MANY,
    SHORT,
    TODAY,
    a_day_of_which_rows_are_there_again,
    bring_back,
    let_expire,
)
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    TABLE,
    add_rows,
    add_version,
    commit_id,
    table_feed,
    values,
)
from tests.support import folder_of, lake_at


def rows_by_version(root: Path) -> dict[int, int]:
    versions = lake_at(root).table(MANY).versions()
    return {version: sum(file.row_count for file in files) for version, files in versions.items()}


def keyed(declared: str, amount: pa.DataType) -> pa.Schema:
    metadata = {KSQLDB_NAME: "K", KSQLDB_TYPE: declared}
    return pa.schema([pa.field("k", pa.string(), metadata=metadata), pa.field("amount", amount)])


@pytest.mark.parametrize(
    "wide",
    [keyed("STRING", pa.decimal128(20, 10)), keyed("TIME", pa.decimal128(38, 10))],
    ids=["same type in Arrow", "another type in Arrow"],
)
def test_a_version_that_came_back_was_widened_and_expired_again_comes_back_once(
    tmp_path: Path, wide: pa.Schema
) -> None:
    table = lake_at(tmp_path).table(MANY)
    for version in (1, 2, 3):
        add_version(table, version, ["a", "b"], schema=keyed("TIME", pa.decimal128(20, 10)))
    let_expire(tmp_path, FEW)
    bring_back(tmp_path, MANY)
    table = lake_at(tmp_path).table(MANY)
    widen(table, table.match_schema(wide), wide, commit_id(50), NOW)
    let_expire(tmp_path, FEW)

    found = bring_back(tmp_path, MANY)

    assert (found.row_count, found.lost) == (2, {})
    assert rows_by_version(tmp_path) == {1: 2, 2: 2, 3: 2}


def test_rows_that_came_back_were_rewritten_and_expired_again_are_not_counted_as_lost(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(LONG)
    add_rows(table, 1, [(TODAY - 9 * DAY_MS, 0, 0, "old"), (TODAY, 0, 1, "new")])
    let_expire(tmp_path, SHORT)
    bring_back(tmp_path, LONG)
    table = lake_at(tmp_path).table(LONG)
    rewrite(
        table, [[file] for file in table.files], table.read_batches, Change(note={"kind": "full"}), commit_id(50), NOW
    )
    let_expire(tmp_path, SHORT)

    found = bring_back(tmp_path, LONG)

    assert (found.row_count, found.lost) == (1, {})
    assert values(lake_at(tmp_path).table(LONG)) == ["new", "old"]


def test_of_two_expired_versions_of_one_number_the_newer_comes_back(tmp_path: Path) -> None:
    for number, keys in ((1, ["a"]), (2, ["b"]), (3, ["c"])):
        add_version(lake_at(tmp_path).table(MANY), number, keys)
    let_expire(tmp_path, FEW)
    another = lake_at(tmp_path).table(MANY)
    add_version(another, 1, ["a", "again"])  # as from a log that another program restored
    another.commit(commit_id(60), Change(current_version=3), NOW)
    let_expire(tmp_path, FEW)

    found = bring_back(tmp_path, MANY)

    assert found.lost == {"a later version of that number comes back": 1}
    assert rows_by_version(tmp_path) == {1: 2, 2: 1, 3: 1}


@pytest.mark.parametrize(
    ("days", "versions", "hint"),
    [
        (5, 7, "--retention-days 8"),
        (30, 2, "--retention-versions 3"),
        (5, 2, "--retention-days 8 --retention-versions 3"),
        (5, None, "--retention-days 8"),
        (None, 2, "--retention-versions 3"),
    ],
)
def test_the_hint_names_what_of_the_rule_is_too_short_and_nothing_else(
    tmp_path: Path, days: int | None, versions: int | None, hint: str
) -> None:
    table = lake_at(tmp_path).table(MANY)
    for number in (1, 2, 3):
        add_version(table, number, ["a"], days=4 * (number - 3))
    feed = table_feed(retention_days=days, retention_versions=versions)
    let_expire(tmp_path, feed)

    with pytest.raises(NothingReturns, match="the feed's rule would expire them again") as raised:
        returning(lake_at(tmp_path).table(feed), Upkeep(lake_at(tmp_path), {}, commit_id(99), NOW, 1))

    assert raised.value.hint == f"python manage_feeds.py update totals {hint}"
    words = hint.split()
    longer = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    changed = {"retention_days": longer.get("--retention-days", days)}
    changed |= {"retention_versions": longer.get("--retention-versions", versions)}
    assert bring_back(tmp_path, table_feed(**changed)).lost == {}


def add_parts(table: LakeTable, version: int, keys: str) -> None:
    """A version with a file for each key."""
    if not table.exists:
        table.create(TABLE, "")
    staged = list[StagedFile]()
    for key in keys:
        writer = StagedWriter(table.staging_folder(f"{commit_id(version)}{key}"), TABLE, partition=str(version))
        writer.add(pa.RecordBatch.from_pylist([{"k": key, "amount": Decimal(1)}], schema=TABLE))
        staged += writer.finish()
    note = {"kind": "snapshot", "version": version}
    table.commit(commit_id(version), Change(adds=staged, current_version=version, note=note), NOW)


def test_a_version_comes_back_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(MANY)
    for version in (1, 2, 3, 4):
        add_parts(table, version, "ab")
    lost = min(file.path for file in table.versions()[1])
    let_expire(tmp_path, FEW)
    (folder_of(table) / lost).unlink()

    found = bring_back(tmp_path, MANY)

    assert found.lost == {"their files were deleted": 1, "other files of their version cannot come back": 1}
    assert rows_by_version(tmp_path) == {2: 2, 3: 2, 4: 2}


@pytest.mark.parametrize("new_column", [False, True])
def test_of_a_file_the_rows_come_back_that_the_lake_does_not_have_again(tmp_path: Path, new_column: bool) -> None:
    table = a_day_of_which_rows_are_there_again(tmp_path)
    if new_column:
        table.match_schema(SCHEMA.append(pa.field("w", pa.string())))

    found = bring_back(tmp_path, LONG)

    assert (found.row_count, found.partitions, found.lost) == (9, ["2026-11-11"], {"the lake has them again": 1})
    table = lake_at(tmp_path).table(LONG)
    assert values(table) == [f"v{offset}" for offset in range(10)]
    assert sorted((file.row_count, file.added_at) for file in table.files) == [
        (1, NOW + dt.timedelta(hours=1)),
        (9, NOW),
    ]
    assert check_files(table).findings == ()
    assert table.head.fingerprint == total(file.fingerprint for file in table.files)


def test_rows_that_are_all_there_again_call_for_nothing(tmp_path: Path) -> None:
    table = a_day_of_which_rows_are_there_again(tmp_path, again=10)
    version = table.delta_version

    with pytest.raises(NothingReturns, match="10 rows: the lake has them again") as raised:
        unexpire_feed(Upkeep(lake_at(tmp_path), {}, commit_id(99), NOW, 1), LONG)

    assert raised.value.hint == "nothing needs to be done"
    assert lake_at(tmp_path).table(LONG).delta_version == version


def test_a_row_that_was_read_again_under_another_date_does_not_come_back(tmp_path: Path) -> None:
    """The feed's partitioning was changed between the expiry and a `--full` export."""
    table = lake_at(tmp_path).table(LONG)
    old = TODAY - 9 * DAY_MS
    add_rows(table, 1, [(old, 0, 0, "a"), (old, 0, 1, "b"), (TODAY, 0, 2, "c")])
    let_expire(tmp_path, SHORT)
    table = lake_at(tmp_path).table(LONG)
    writer = StagedWriter(table.staging_folder(commit_id(70)), SCHEMA, partition="2026-11-19")
    row = {"rowtime": old, "rowpartition": 0, "rowoffset": 1, "v": "b"}
    writer.add(pa.RecordBatch.from_pylist([row], schema=SCHEMA))
    table.commit(commit_id(70), Change(adds=writer.finish()), NOW)

    assert bring_back(tmp_path, LONG).lost == {"the lake has them again": 1}

    assert values(lake_at(tmp_path).table(LONG)) == ["a", "b", "c"]


def test_a_full_disk_while_rows_come_back_leaves_the_lake_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = a_day_of_which_rows_are_there_again(tmp_path)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.open_file.sync_file", full)
        with pytest.raises(DiskFull):
            bring_back(tmp_path, LONG)

    assert lake_at(tmp_path).table(LONG).files == table.files
    assert list(folder_of(table).rglob("*.staged")) == []
    assert bring_back(tmp_path, LONG).row_count == 9
