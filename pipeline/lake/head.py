"""The head of a Delta log: the table's settings, columns, transaction identifiers and newest entry.

It is read from the newest checkpoint and the entries after it, without the list of the table's files, so its cost grows
with what is new in the log, not with the table. A log that is lost, torn or not supported is an error: treated as a new
table, or read in part, it would double or lose rows in silence.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import LogDamaged, TableNotSupported
from pipeline.lake.delta import TIME_KEY, delta_errors, plain_schema
from pipeline.lake.files import parquet_files
from pipeline.lake.log import checkpoint_parts, entries_due, entry_name, newest_checkpoint
from pipeline.lake.store import LOG, Store

_READER_FEATURES = frozenset({"timestampNtz"})
_FORGETS = "delta.setTransactionRetentionDuration"
_FILES = (b'{"add":{', b'{"remove":{', b'{"add": {', b'{"remove": {')


@dataclass(frozen=True)
class Head:
    """The head at `version`. `commit` is the newest entry's commit information, `checksum` is of the entry's bytes and
    identifies this state of the table. `transactions` are the versions of Delta's application transactions.
    """

    version: int = -1
    checksum: str = ""
    commit: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    transactions: Mapping[str, int] = field(default_factory=dict)

    def after(self, version: int, entry: bytes) -> Head:
        """The head after the next entry. Raises ValueError for an entry that is not whole."""
        lines = entry.splitlines()
        if not lines or not all(line.endswith(b"}}") for line in lines):
            raise ValueError(entry_name(version))
        found = [json.loads(line) for line in lines if not line.startswith(_FILES)]
        if not all(isinstance(action, dict) and all(isinstance(v, dict) for v in action.values()) for action in found):
            raise ValueError(entry_name(version))
        newest = {name: value for action in found for name, value in action.items()}
        marks = {action["txn"]["appId"]: action["txn"]["version"] for action in found if "txn" in action}
        return replace(
            self,
            version=version,
            checksum=hashlib.sha256(entry).hexdigest()[:16],
            commit=newest.get("commitInfo", {}),
            metadata=newest.get("metaData", self.metadata),
            protocol=newest.get("protocol", self.protocol),
            transactions={**self.transactions, **marks},
        )

    @property
    def made_at(self) -> dt.datetime | None:
        """The time of the run that made the newest entry; None for one from before the first run."""
        return entry_time(self.commit)

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of all rows after the newest entry, by its note; None where that has none."""
        noted = (self.commit.get("pipeline") or {}).get("fingerprint")
        return noted if isinstance(noted, str) else None

    @property
    def committed_at(self) -> dt.datetime:
        """When the newest entry was written, by the clock of that moment."""
        return dt.datetime.fromtimestamp(self.commit.get("timestamp", 0) / 1000, dt.UTC)

    @property
    def created_at(self) -> dt.datetime:
        return dt.datetime.fromtimestamp((self.metadata.get("createdTime") or 0) / 1000, dt.UTC)

    @property
    def settings(self) -> Mapping[str, str]:
        return dict(self.metadata.get("configuration") or {})

    @property
    def schema(self) -> pa.Schema:
        """All columns, including the partition column."""
        return plain_schema(deltalake.Schema.from_json(self.metadata["schemaString"]))


def entry_time(entry: Mapping[str, Any]) -> dt.datetime | None:
    """The time of the run that made an entry of a table's history; None for one from before the first run."""
    epoch_ms = entry.get(TIME_KEY, entry.get("timestamp", 0))
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC) if epoch_ms else None


def read_head(store: Store, feed: str) -> Head | None:
    """The head of a table's log; None before its first entry.

    Raises LogDamaged for a log that is lost or cannot be read, or that lacks an entry or a part of one: the Delta
    library would skip an empty entry and so lose its rows. Raises TableNotSupported.
    """
    with delta_errors(store.uri()):
        names = store.names(LOG)
        if not any(name.endswith((".json", ".parquet")) for name in names):
            _refuse_lost_log(store, feed)
            return None
        due, head = entries_due(names), Head()
        number = newest_checkpoint(names)
        if number >= 0:
            head = _from_checkpoint(store, feed, names, number)
        for entry in due:
            head = _with(store, feed, head, entry, is_newest=entry == due[-1])
    if not (head.metadata and head.protocol):
        raise LogDamaged(
            f"the feed {feed} cannot be read: {store.uri(LOG)} does not say what the table is", _hint(feed)
        )
    return _supported(head, feed)


def _with(store: Store, feed: str, head: Head, entry: str, is_newest: bool) -> Head:
    try:
        return head.after(head.version + 1, store.read(entry))
    except FileNotFoundError:
        what = f"{store.uri(entry)} is missing"
    except ValueError:
        what = f"{store.uri(entry)} is not whole"
    hint = _hint(feed)
    if is_newest:
        hint = f"the next export of {feed} removes that entry: another program began it and did not end it"
    raise LogDamaged(f"the feed {feed} cannot be read: {what}", hint)


def _from_checkpoint(store: Store, feed: str, names: Sequence[str], number: int) -> Head:
    """The head at a checkpoint's version, with that entry's commit information if the entry still exists."""
    found: dict[str, list[Any]] = {"metaData": [], "protocol": [], "txn": []}
    for name in checkpoint_parts(names, number):
        try:
            with store.open_parquet(f"{LOG}/{name}") as opened, pq.ParquetFile(opened) as checkpoint:
                rows = checkpoint.read(columns=list(found))
        except pa.ArrowException:
            raise LogDamaged(
                f"the feed {feed} cannot be read: {store.uri(f'{LOG}/{name}')} is not whole",
                _hint(feed),
            ) from None
        for column in rows.column_names:
            found[column] += pc.drop_null(rows[column]).to_pylist(maps_as_pydicts="strict")
    head = Head(
        number,
        f"checkpoint {number}",
        metadata=found["metaData"][-1] if found["metaData"] else {},
        protocol=found["protocol"][-1] if found["protocol"] else {},
        transactions={mark["appId"]: mark["version"] for mark in found["txn"]},
    )
    entry = entry_name(number)
    if store.size(entry):
        newest = Head().after(number, store.read(entry))
        head = replace(head, checksum=newest.checksum, commit=newest.commit)
    return head


def _hint(feed: str) -> str:
    return f"restore its Delta log from a backup, or see what can be done: python metadata_utils.py repair {feed}"


def _refuse_lost_log(store: Store, feed: str) -> None:
    """Raises LogDamaged for data files without a log: the log is created before a table's first file and deleted after
    its last one.
    """
    for path in parquet_files(store):
        raise LogDamaged(
            f"the feed {feed} cannot be read: {store.uri(LOG)} is lost, and there are data files, "
            f"{store.uri(path)} among them",
            f"restore that folder from a backup, or see what can be done: python metadata_utils.py repair {feed}",
        )


def _supported(head: Head, feed: str) -> Head:
    """The head. Raises TableNotSupported for table features under which rows or bookmarks would be read wrongly."""
    settings, protocol = head.settings, head.protocol
    if _FORGETS in settings:
        raise TableNotSupported(
            f"the table of the feed {feed} has the property {_FORGETS}: with it other engines drop its bookmarks",
            f"unset it where it was set: ALTER TABLE ... UNSET TBLPROPERTIES ('{_FORGETS}')",
        )
    unknown = set(protocol.get("readerFeatures") or ()) - _READER_FEATURES
    if settings.get("delta.enableDeletionVectors", "false") != "false" or "deletionVectors" in unknown:
        raise TableNotSupported(
            f"the table of the feed {feed} has deletion vectors: its files have rows that no longer count",
            "purge and drop them where they were set: REORG TABLE ... APPLY (PURGE), then "
            "ALTER TABLE ... DROP FEATURE deletionVectors",
        )
    if unknown or protocol.get("minReaderVersion") == 2:
        named = ", ".join(sorted(unknown)) or "columnMapping"
        raise TableNotSupported(
            f"the table of the feed {feed} has features of Delta that are not read here: {named}",
            "drop them where they were set: ALTER TABLE ... DROP FEATURE ...",
        )
    return head
