"""The Iceberg metadata of a feed: each Delta version that it has is one snapshot with the same rows, by pyiceberg."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import TableAlreadyExistsError
from pyiceberg.table import StaticTable, Table

from pipeline.errors import DiskFull, LakeDamaged
from pipeline.fingerprint import ContentHash
from pipeline.lake import iceberg
from pipeline.lake.iceberg import FOLDER, publish_iceberg
from pipeline.lake.iceberg_catalog import register
from pipeline.lake.iceberg_files import StoreFiles
from pipeline.lake.local_store import LocalStore
from pipeline.lake.log import entry_name
from pipeline.lake.rewrite import roll_back
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable
from tests.lake.changed_streams import (
    MORE,
    add_old_and_new_rows,
    compact_and_expire,
    drop_first_entries,
    restored_after,
)
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    add_rows,
    add_version,
    commit_id,
    stream_feed,
    table_feed,
)

pytestmark = pytest.mark.long  # all of them together

LATER = NOW + dt.timedelta(days=3)


def stream(root: Path, **fields: object) -> LakeTable:
    return LakeTable(LocalStore(root), stream_feed(**fields), print)


def reader(table: LakeTable) -> StaticTable:
    return StaticTable.from_metadata(f"file://{table.uri(FOLDER)}")


def by_delta_version(table: LakeTable) -> dict[int, int]:
    """The snapshot that was published of each Delta version."""
    return {int(s.summary["lake.delta-version"]): s.snapshot_id for s in reader(table).metadata.snapshots if s.summary}


def check(table: LakeTable) -> None:
    """Compares each snapshot with its Delta version, and both with the partition in the path."""
    published = reader(table)
    snapshots = by_delta_version(table)
    assert published.current_snapshot() is not None
    assert max(snapshots) == int(published.current_snapshot().summary["lake.delta-version"])  # type: ignore[union-attr]
    for version, snapshot in snapshots.items():
        there, here = ContentHash(), ContentHash()
        found = published.scan(snapshot_id=snapshot).to_arrow()
        names = [name for name in table.schema.names if name in found.column_names]
        schema = pa.schema([table.schema.field(name).remove_metadata() for name in names])
        for batch in found.select(names).cast(schema).to_batches():
            there.add_batch(batch)
        files = table.files_at(version)
        for batch in table.read_batches(files):
            here.add_batch(batch.select(names))
        assert (there.row_count, there.hexdigest()) == (here.row_count, here.hexdigest()), version
        wanted = {file.partition for file in files if file.row_count}
        assert {None if value is None else str(value) for value in found[table.partition_column].to_pylist()} == wanted


def test_each_version_is_one_snapshot_and_only_new_ones_are_added(tmp_path: Path) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a"), (DAY_MS, 1, 0, "b")])
    add_rows(table, 2, [(0, 0, 1, "c"), (-(10**17), 1, 1, "outside of the calendar")])

    first = publish_iceberg(table)
    check(table)
    add_rows(table, 3, [(2 * DAY_MS, 0, 2, "d")])
    second, again = publish_iceberg(table), publish_iceberg(table)

    check(table)
    assert (first.snapshots, second.snapshots, second.new_snapshots) == (2, 3, 1)
    assert (again.new_snapshots, again.metadata_location) == (0, second.metadata_location)
    assert again.metadata_location.endswith("/v2.metadata.json")


def test_a_question_about_one_day_or_of_late_offsets_opens_few_files(tmp_path: Path) -> None:
    table = stream(tmp_path)
    for day in range(5):
        add_rows(table, day + 1, [(day * DAY_MS, 0, day, "v")])
    publish_iceberg(table)

    for asked, count in (("date = '1970-01-03'", 1), ("rowoffset >= 3", 2), ("date is null", 0)):
        assert len(list(reader(table).scan(row_filter=asked).plan_files())) == count


def test_expired_and_compacted_files_are_in_older_snapshots_only(tmp_path: Path) -> None:
    table = stream(tmp_path, retention_days=10)
    add_old_and_new_rows(table)
    publish_iceberg(table)
    compact_and_expire(table, LATER)

    done = publish_iceberg(table)

    check(table)
    assert done.new_snapshots == 2
    assert len(list(reader(table).scan().plan_files())) == len(table.files) == 1


def test_a_tables_versions_and_the_current_one_are_known(tmp_path: Path) -> None:
    table = LakeTable(LocalStore(tmp_path), table_feed(), print)
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, [])
    publish_iceberg(table)
    check(table)

    roll_back(table, 1, commit_id(3), NOW)
    publish_iceberg(table)

    check(table)
    assert reader(table).properties["lake.current-version"] == str(table.current_version) == "3"
    assert reader(table).scan(row_filter="version = 3").to_arrow().num_rows == 2


def test_new_columns_of_every_type_are_columns_of_the_snapshots_after_them(tmp_path: Path) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_iceberg(table)
    table.match_schema(pa.schema([*SCHEMA, *MORE]))

    publish_iceberg(table)

    check(table)
    assert [field.name for field in reader(table).schema().fields] == [
        *SCHEMA.names,
        "date",
        *(name for name, _ in MORE),
    ]


def test_snapshots_that_the_log_no_longer_has_are_left_out_with_their_files(tmp_path: Path) -> None:
    table = stream(tmp_path)
    for number in range(3):
        add_rows(table, number + 1, [(0, 0, number, "v")])
        publish_iceberg(table)
    names = set(table.store.names(f"{FOLDER}/metadata"))

    drop_first_entries(table, LATER)
    publish_iceberg(table)
    add_rows(table, 30, [(0, 0, 90, "v")], LATER)
    publish_iceberg(table)

    check(table)
    assert min(by_delta_version(table)) >= 3
    assert len(names - set(table.store.names(f"{FOLDER}/metadata"))) > 2


def test_a_lake_that_was_moved_or_damaged_is_published_anew(tmp_path: Path) -> None:
    table = stream(tmp_path / "one")
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_iceberg(table)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = stream(tmp_path / "two")

    published = publish_iceberg(moved)

    check(moved)
    assert published.metadata_location.endswith("/v2.metadata.json")
    Path(moved.uri(f"{FOLDER}/metadata/v2.metadata.json")).write_bytes(b"{")
    assert publish_iceberg(moved).metadata_location.endswith("/v3.metadata.json")
    check(moved)


@pytest.mark.parametrize("is_of_earlier_release", [False, True])
@pytest.mark.parametrize("commits", range(4))
def test_a_log_that_was_restored_from_a_backup_is_published_anew_and_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int, is_of_earlier_release: bool
) -> None:
    table, catalog = stream(tmp_path / "lake"), SqlCatalog("ours", uri=f"sqlite:///{tmp_path}/catalog.db")
    catalog.create_namespace("lake")
    add_rows(table, 1, [(0, 0, 0, "a")])
    with restored_after(table, tmp_path / "backup"), monkeypatch.context() as patched:
        add_rows(table, 2, [(0, 0, 1, "lost b")])
        add_rows(table, 3, [(0, 0, 2, "lost c")])
        if is_of_earlier_release:
            patched.setattr(iceberg, "commit_checksum", lambda _: "")
        register(catalog, "lake", publish_iceberg(table))
    for number in range(commits):
        add_rows(table, 4 + number, [(0, 0, 1 + number, "b")])

    register(catalog, "lake", publish_iceberg(table))

    check(table)
    assert set(by_delta_version(table)) == set(range(1, 2 + commits))
    assert catalog.load_table(("lake", "events")).scan().to_arrow().num_rows == 1 + commits
    catalog.close()


def test_what_an_earlier_release_has_published_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    with monkeypatch.context() as patched:
        patched.setattr(iceberg, "commit_checksum", lambda _: "")
        publish_iceberg(table)
    before = reader(table).metadata.table_uuid
    add_rows(table, 2, [(0, 0, 1, "b")])

    published = publish_iceberg(table)

    check(table)
    assert (published.new_snapshots, reader(table).metadata.table_uuid) == (1, before)


def test_what_was_published_of_a_commit_that_the_log_has_dropped_is_gone_on_with(tmp_path: Path) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_iceberg(table)
    before = reader(table).metadata.table_uuid
    add_rows(table, 2, [(0, 0, 1, "b")])
    drop_first_entries(table, LATER)
    assert entry_name(1) not in {f"{LOG}/{name}" for name in table.store.names(LOG)}

    for number in (5, 6):
        publish_iceberg(table)
        add_rows(table, number, [(0, 0, number, "c")], LATER)
    publish_iceberg(table)

    check(table)
    assert reader(table).metadata.table_uuid == before


@pytest.mark.parametrize("at", range(4))
def test_a_run_that_dies_leaves_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_iceberg(table)
    add_rows(table, 2, [(0, 0, 1, "b")])
    real, left = LocalStore.replace, [at]

    def full(store: LocalStore, name: str, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise DiskFull("the disk is full")
        real(store, name, data)

    with monkeypatch.context() as patched, pytest.raises(DiskFull):
        patched.setattr(LocalStore, "replace", full)
        publish_iceberg(table)
    assert reader(table).scan().to_arrow().num_rows == 1

    publish_iceberg(table)

    check(table)
    assert len(by_delta_version(table)) == 2


@pytest.mark.parametrize("refusal", [NotImplementedError, TableAlreadyExistsError])
def test_a_catalog_that_cannot_replace_a_table_gets_it_again(tmp_path: Path, refusal: type[Exception]) -> None:
    class Refusing(SqlCatalog):
        def register_table(self, identifier: Any, metadata_location: str, overwrite: bool = False) -> Table:
            if overwrite:
                raise refusal("no")
            return super().register_table(identifier, metadata_location)

    catalog = Refusing("ours", uri=f"sqlite:///{tmp_path}/catalog.db")
    catalog.create_namespace("lake")
    table = stream(tmp_path / "lake")
    for number in (1, 2):
        add_rows(table, number, [(0, 0, number, "a")])
        register(catalog, "lake", publish_iceberg(table))

    assert catalog.load_table(("lake", "events")).scan().to_arrow().num_rows == 2
    catalog.close()


def test_places_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not below"):
        StoreFiles(LocalStore(tmp_path)).new_input("file:///etc/passwd")


def test_a_feed_without_data_has_none(tmp_path: Path) -> None:
    with pytest.raises(LakeDamaged, match="no data"):
        publish_iceberg(stream(tmp_path))
    assert iceberg.FOLDER not in [path.name for path in tmp_path.rglob("*")]
