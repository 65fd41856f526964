"""The Delta library behind our own types: its errors as errors of this package, its Arrow types as pyarrow's."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.errors import CommitFailed
from pipeline.feeds import Feed
from pipeline.fingerprint import NOTHING
from pipeline.lake.clock import CHECKPOINTS_FORGET
from pipeline.lake.store import disk_errors

TIME_KEY = "pipeline_time_ms"
"""What each entry of ours holds beside its note: the time of its run, in epoch milliseconds; 0 before the first run."""
KEEP_LOG = {
    # `checkpoint` decides what may be dropped: other engines must not clean up earlier. Of removed files it keeps
    # those of so many days, which have to be more than the longest grace period.
    "delta.logRetentionDuration": "interval 400 days",
    "delta.deletedFileRetentionDuration": f"interval {CHECKPOINTS_FORGET.days} days",
}
NO_HOOKS = deltalake.PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


@contextlib.contextmanager
def delta_errors(folder: str | Path) -> Iterator[None]:
    """Turns the Delta library's errors into ours; they have the system's error number only in their text."""
    try:
        with disk_errors(folder):
            try:
                yield
            except OSError as error:
                if error.errno is not None:
                    raise
                raise DeltaError(str(error)) from error
    except DeltaError as error:
        text = str(error)
        number = re.search(r"os error (\d+)\b", text)
        if number is not None and int(number[1]) in _OF_THE_DISK:
            with disk_errors(folder):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error
        raise CommitFailed(
            f"the Delta library cannot use the log of {folder}",
            "nothing was committed; run the same command again",
        ) from error


def commit_properties(
    note: Mapping[str, Any], at: dt.datetime | None, transactions: list[deltalake.Transaction] | None = None
) -> deltalake.CommitProperties:
    """The commit information of an entry: the note, and the time of its run, if that is known."""
    metadata = {"pipeline": dict(note), TIME_KEY: int(at.timestamp() * 1000) if at else 0}
    # No retries: under the feed's lock nobody else commits, so a conflict is a fault that must show.
    return deltalake.CommitProperties(custom_metadata=metadata, max_commit_retries=0, app_transactions=transactions)


def create_table(folder: Path, feed: Feed, schema: deltalake.Schema, column: str, topic: str) -> None:
    """Makes the empty table of a feed in that folder, partitioned by `column`."""
    deltalake.DeltaTable.create(
        folder,
        schema=schema,
        partition_by=[column],
        name=feed.name,
        description=f"ksqlDB {feed.type} {feed.source}",
        configuration=KEEP_LOG | {"ksqldb.topic": topic},
        commit_properties=commit_properties({"kind": "create table", "fingerprint": NOTHING}, None),
        raise_if_key_not_exists=False,
    )


def write_files(
    table: deltalake.DeltaTable,
    actions: list[AddAction | RemoveAction],
    column: str,
    properties: deltalake.CommitProperties,
    schema: deltalake.Schema | None = None,
) -> None:
    """Commits the files of a table partitioned by `column`. With a `schema` they replace all files and the columns."""
    table.create_write_transaction(
        actions,
        mode="append" if schema is None else "overwrite",
        schema=schema or table.schema(),
        partition_by=[column],
        commit_properties=properties,
        post_commithook_properties=NO_HOOKS,
    )


def add_columns(table: deltalake.DeltaTable, columns: Sequence[pa.Field], note: deltalake.CommitProperties) -> None:
    """Commits new columns of a table, after the existing ones."""
    fields = deltalake.Schema.from_arrow(pa.schema(columns)).fields
    table.alter.add_columns(fields, commit_properties=note, post_commithook_properties=NO_HOOKS)


def plain_schema(schema: deltalake.Schema) -> pa.Schema:
    """A table's columns with pyarrow's types and the fields' metadata."""
    return pa.schema(
        [
            pa.field(column.name, _plain(column.type), metadata=column.metadata)
            for column in pa.schema(schema.to_arrow())
        ]
    )


def partitioned_schema(schema: pa.Schema, column: str) -> deltalake.Schema:
    """The schema of a table whose data files have `schema` and which is partitioned by `column`."""
    type_ = pa.date32() if column == "date" else pa.int32()
    return deltalake.Schema.from_arrow(pa.schema([*schema, pa.field(column, type_)]))


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(part.name, _plain(part.type)) for part in type_])
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return pa.list_(pa.field("element", _plain(type_.value_type)))
    if pa.types.is_map(type_):
        return pa.map_(_plain(type_.key_type), _plain(type_.item_type))
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return pa.binary()
    return type_
