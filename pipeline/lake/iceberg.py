"""Iceberg metadata over the data files of a feed's table: other engines read the same files, none is copied.

The metadata is in `_iceberg/metadata` of the table's folder; `version-hint.text` names the newest. Each Delta version
that changed files becomes one snapshot, which names its Delta version; versions that the Delta log no longer has are
left out. Only what is new since the last time is written; all of it where the log no longer has what was published, as
after a restore from a backup. A crash leaves the hint on what was published before, and files that the next time
deletes. Nothing reads this metadata to write the lake: it can be deleted at any time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.conversions import to_bytes
from pyiceberg.exceptions import ValidationError
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableResponse, Table, Transaction
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, PrimitiveType

from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from pipeline.lake.iceberg_files import StoreFiles, location_of
from pipeline.lake.lake import Upkeep
from pipeline.lake.log import commit_checksum, info_of, oldest_version
from pipeline.lake.lost_history import still_has
from pipeline.lake.published import Published
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable

FOLDER = "_iceberg"
_METADATA = "metadata"
_HINT = f"{_METADATA}/version-hint.text"
_DELTA_VERSION, _CURRENT, _COMMIT = "lake.delta-version", "lake.current-version", "lake.commit"
_NAMES = "schema.name-mapping.default"  # the files have no field ids: columns are found by name
_EPOCH = dt.date(1970, 1, 1)


def publish_feed(upkeep: Upkeep, feed: Feed) -> Published:
    """As `publish_iceberg`, with the feed's lock."""
    with upkeep.lake.writing(feed, upkeep.holder) as table:
        return publish_iceberg(table)


def publish_iceberg(table: LakeTable) -> Published:
    """Brings the table's Iceberg metadata up to its newest Delta version. Only under the feed's lock.

    Raises LakeDamaged for a table without data, and the errors of the store.
    """
    files = StoreFiles(table.store.below(FOLDER))
    newest, known = _newest(files, table)
    iceberg, before = _opened(files, table, known)
    oldest = oldest_version(table.store.names(LOG))
    done = _delta_versions(iceberg.metadata)
    first = max([oldest, *(version + 1 for version in done)])
    _match_columns(iceberg, table)
    added = sum(_add_snapshot(iceberg, table, before, version) for version in range(first, table.delta_version + 1))
    _leave_out(iceberg, [number for number in done if number < oldest and number != max(done)])
    checksum = commit_checksum(info_of(table.store, table.delta_version))
    state = {_CURRENT: str(table.current_version or ""), _DELTA_VERSION: str(table.delta_version), _COMMIT: checksum}
    with iceberg.transaction() as change:
        _set(change, state)
    number = newest if iceberg.metadata == known else newest + 1
    name = f"{_METADATA}/v{number}.metadata.json"
    if number > newest:
        files.store.replace(name, iceberg.metadata.model_dump_json(exclude_none=True).encode())
        files.store.replace(_HINT, str(number).encode())
        _delete_unused(files, [metadata for metadata in (known, iceberg.metadata) if metadata is not None], newest)
    return Published(
        table.feed.name,
        location_of(files.store),
        location_of(files.store, name),
        table.delta_version,
        len(iceberg.metadata.snapshots),
        added,
        "iceberg",
    )


class _Held(NoopCatalog):
    """A catalog for one table, whose changes stay in memory until `publish_iceberg` writes them."""

    @classmethod
    def of(cls, files: StoreFiles, metadata: TableMetadata) -> Table:
        return Table(("lake", "table"), metadata, metadata.location, files, cls("lake"))

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        for requirement in requirements:
            requirement.validate(table.metadata)
        changed = update_table_metadata(table.metadata, updates)
        return CommitTableResponse(metadata=changed, metadata_location=table.metadata_location)


def _newest(files: StoreFiles, table: LakeTable) -> tuple[int, TableMetadata | None]:
    """The number of the newest metadata, and the metadata if it is of this table at this place and can be read."""
    try:
        number = int(files.store.read(_HINT))
        known = TableMetadataUtil.parse_raw(files.store.read(f"{_METADATA}/v{number}.metadata.json").decode())
    except FileNotFoundError:
        return 0, None
    except (ValueError, ValidationError):
        return _highest(files), None
    is_ours = known.location == location_of(files.store) and known.properties.get("lake.table-id") == table.id
    return number, known if is_ours else None


def _opened(files: StoreFiles, table: LakeTable, known: TableMetadata | None) -> tuple[Table, dict[str, IcebergFile]]:
    """What was published and the files of its newest snapshot; an empty table where the log no longer has that."""
    if known is not None:
        iceberg = _Held.of(files, known)
        live = _live_files(iceberg, files)
        version = int(known.properties.get(_DELTA_VERSION) or -1)
        if still_has(table, version, known.properties.get(_COMMIT, ""), live):
            return iceberg, live
    return _Held.of(files, _first(table, files)), {}


def _highest(files: StoreFiles) -> int:
    names = (name.removesuffix(".metadata.json") for name in files.store.names(_METADATA))
    return max((int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit()), default=0)


def _first(table: LakeTable, files: StoreFiles) -> TableMetadata:
    """The metadata of a table without columns and snapshots."""
    properties = {"lake.table-id": table.id, "lake.feed": table.feed.name}
    return new_table_metadata(
        Schema(), UNPARTITIONED_PARTITION_SPEC, UNSORTED_SORT_ORDER, location_of(files.store), properties
    )


def _delta_versions(metadata: TableMetadata) -> dict[int, int]:
    """The snapshot of each Delta version that was published."""
    return {
        int(snapshot.summary[_DELTA_VERSION] or 0): snapshot.snapshot_id
        for snapshot in metadata.snapshots
        if snapshot.summary is not None
    }


def _match_columns(iceberg: Table, table: LakeTable) -> None:
    """Gives the table the columns of the lake, and its partition column."""
    wanted = pa.schema([column.remove_metadata() for column in table.head.schema])
    with iceberg.transaction() as change:
        with change.update_schema() as columns:
            columns.union_by_name(wanted)
        if not change.table_metadata.spec().fields:
            with change.update_spec() as spec:
                spec.add_identity(table.partition_column)
        _set(change, {_NAMES: change.table_metadata.schema().name_mapping.model_dump_json()})


def _set(change: Transaction, properties: dict[str, str]) -> None:
    """Sets properties where they differ: a change without effect would make new metadata."""
    differing = {
        name: value for name, value in properties.items() if change.table_metadata.properties.get(name) != value
    }
    if differing:
        change.set_properties(differing)


def _live_files(iceberg: Table, files: StoreFiles) -> dict[str, IcebergFile]:
    """The files of the newest snapshot, by the path that the lake knows them by."""
    snapshot = iceberg.current_snapshot()
    root = location_of(files.store).removesuffix(FOLDER)
    return {
        entry.data_file.file_path.removeprefix(root): entry.data_file
        for manifest in (snapshot.manifests(files) if snapshot else ())
        for entry in manifest.fetch_manifest_entry(files)
    }


def _add_snapshot(iceberg: Table, table: LakeTable, before: dict[str, IcebergFile], version: int) -> int:
    """Adds the snapshot of a Delta version if its files differ from those `before`, which then are its own; returns
    how many were added.
    """
    after = {file.path: file for file in table.files_at(version)}
    gone = [path for path in before if path not in after]
    new = [file for path, file in after.items() if path not in before]
    if not gone and not new:
        return 0
    with iceberg.transaction() as change:
        update = change.update_snapshot(snapshot_properties={_DELTA_VERSION: str(version)})
        with update.overwrite() if gone else update.merge_append() as snapshot:
            for path in gone:
                snapshot.delete_data_file(before.pop(path))
            for file in new:
                before[file.path] = _as_iceberg(change, table, file)
                snapshot.append_data_file(before[file.path])
    return 1


def _as_iceberg(change: Transaction, table: LakeTable, file: DataFile) -> IcebergFile:
    metadata = change.table_metadata
    fields = {name: metadata.schema().find_field(name) for name in file.bounds}
    low, high = (
        {field.field_id: to_bytes(_primitive(field), file.bounds[name][place]) for name, field in fields.items()}
        for place in (0, 1)
    )
    made = IcebergFile.from_args(
        content=DataFileContent.DATA,
        file_path=location_of(table.store, file.path),
        file_format=FileFormat.PARQUET,
        partition=Record(_partition_value(file.partition, table.partition_column)),
        record_count=file.row_count,
        file_size_in_bytes=file.size_bytes,
        lower_bounds=low,
        upper_bounds=high,
    )
    made.spec_id = metadata.default_spec_id
    return made


def _primitive(field: NestedField) -> PrimitiveType:
    assert isinstance(field.field_type, PrimitiveType)  # bounds are of integers
    return field.field_type


def _partition_value(partition: str | None, column: str) -> Any:
    """The value as Iceberg keeps it: a date as its days since 1970."""
    if partition is None:
        return None
    return int(partition) if column == "version" else (dt.date.fromisoformat(partition) - _EPOCH).days


def _leave_out(iceberg: Table, versions: Sequence[int]) -> None:
    """Removes the snapshots of Delta versions that the log no longer has."""
    if versions:
        known = _delta_versions(iceberg.metadata)
        iceberg.maintenance.expire_snapshots().by_ids([known[version] for version in versions]).commit()


def _delete_unused(files: StoreFiles, kept: Iterable[TableMetadata], newest: int) -> None:
    """Deletes what neither the newest metadata names nor the one before it, which readers may still have open."""
    used = {_HINT, *(f"{_METADATA}/v{number}.metadata.json" for number in (newest, newest + 1))}
    for metadata in kept:
        for snapshot in metadata.snapshots:
            used.add(files.name_of(snapshot.manifest_list))
            used |= {files.name_of(manifest.manifest_path) for manifest in snapshot.manifests(files)}
    names = (f"{_METADATA}/{name}" for name in files.store.names(_METADATA))
    files.store.delete(*(name for name in names if name not in used))
