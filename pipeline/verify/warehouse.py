"""Compares the warehouse with the lake by hashes of the rows that do not depend on their order; changes nothing.

Facts are compared value by value as MySQL's types hold them, snapshot by snapshot, where the lake still retains the
version; for other snapshots the rows are counted and compared with the ledger, which is also checked against itself.
Dimensions are not compared: they hold the newest known attributes of all snapshots, which no single version has.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.exact_text import lines_of, texts_of
from pipeline.findings import Finding
from pipeline.fingerprint import ContentHash
from pipeline.lake.table import LakeTable
from pipeline.progress import Meter
from pipeline.text import plural
from pipeline.verify.ledger import ledger_findings, ledger_lines
from pipeline.verify.verdict import Verdict
from pipeline.warehouse.connection import Connection, quote, text_of
from pipeline.warehouse.fact import WHOLE_ROW, in_full
from pipeline.warehouse.fitting import MappedColumn, split_rejects, texts_to_send
from pipeline.warehouse.ledger import FactEntry, SnapshotEntry
from pipeline.warehouse.mapping import ResolvedMapping, TableSnapshot, resolve_mapping
from pipeline.warehouse.sources import lake_snapshot
from pipeline.warehouse.target import TargetColumn

_READ_ROWS = 10_000


def check_warehouse(connection: Connection, table: LakeTable, meter: Meter | None = None) -> Verdict:
    """Compares every complete snapshot of a table feed; `meter` counts their rows.

    Raises the errors of reading lake and warehouse.
    """
    assert table.feed.warehouse is not None
    name, fact = table.feed.name, table.feed.warehouse.fact
    lines, meter = ledger_lines(connection, fact), meter or Meter(name)
    meter.begin("comparing", sum(entry.row_count for _, entry in lines if entry.feed == name))
    findings, by_value, counted = ledger_findings(connection, name, fact, lines), 0, 0
    for snapshot, entry in lines:
        if entry.feed != name:
            continue
        findings += _count_findings(connection, snapshot, entry)
        same = _same_values(connection, table, snapshot, entry)
        meter.add(entry.row_count)
        if same is None:
            counted += 1
            continue
        by_value += 1
        if not same:
            detail = f"snapshot {snapshot.version} of {fact}, lake version {entry.lake_version}"
            findings.append(Finding(name, "values differ from the lake's", detail))
    compared = f"in the warehouse {plural(by_value, 'snapshot')} as in the lake"
    return Verdict(table.feed, tuple(findings), (compared + (f", {counted} only counted" if counted else ""),))


def _count_findings(connection: Connection, snapshot: SnapshotEntry, entry: FactEntry) -> Iterator[Finding]:
    query = f"SELECT COUNT(*) FROM {quote(entry.fact)} WHERE snapshot_version = %s"
    ((there,),) = connection.rows(query, (snapshot.version,))
    if there != entry.row_count:
        detail = f"snapshot {snapshot.version} of {entry.fact}: {there} rows, {entry.row_count} in the ledger"
        yield Finding(entry.feed, "rows differ from the ledger's", detail)


def _same_values(connection: Connection, table: LakeTable, snapshot: SnapshotEntry, entry: FactEntry) -> bool | None:
    """Whether the snapshot has the values of the lake version that it was loaded from; None if that is gone."""
    retained = _retained(table, snapshot, entry)
    if retained is None:
        return None
    mapping = resolve_mapping(connection, retained)
    if _lake_hash(mapping) == _warehouse_hash(connection, mapping, snapshot.version):
        return True
    written_again = entry.lake_files not in (None, retained.lake_files)
    return None if written_again else False


def _retained(table: LakeTable, snapshot: SnapshotEntry, entry: FactEntry) -> TableSnapshot | None:
    """The lake version that a ledger line names, if this lake retains it.

    Older lines, which do not record the lake, must agree with the version in time.
    """
    versions = table.versions()
    if entry.lake_version not in versions or entry.lake_id not in (None, table.id):
        return None
    if entry.lake_id is None and any(file.added_at > snapshot.loaded_at for file in versions[entry.lake_version]):
        return None
    return lake_snapshot(table, entry.lake_version)


def _lake_hash(mapping: ResolvedMapping) -> str:
    """The hash of the rows that fit their columns, including rows that the fact table refused."""
    digest = ContentHash()
    for batch in mapping.snapshot.batches():
        fitting, _ = split_rejects(batch, (*mapping.columns, *mapping.members), mapping.declared)
        digest.add_lines(_comparable(texts_to_send(fitting, mapping.columns), mapping.columns))
    return digest.hexdigest()


def _warehouse_hash(connection: Connection, mapping: ResolvedMapping, version: int) -> str:
    """The hash of the fact's rows, and of those that its keys, CHECKs or triggers refused."""
    digest = ContentHash()
    listed = ", ".join(in_full(column) for column in mapping.columns)
    rows = connection.stream(f"SELECT {listed} FROM {quote(mapping.fact)} WHERE snapshot_version = %s", (version,))
    refused = (
        row
        for (text,) in connection.rows(
            "SELECT row_json FROM etl_rejects WHERE snapshot_version = %s AND fact_table = %s AND column_name = %s",
            (version, mapping.fact, WHOLE_ROW),
        )
        for row in [json.loads(text, parse_float=str, parse_int=str)]
    )
    values: Iterable[Sequence[Any]] = itertools.chain(
        rows, ([row.get(column.source) for column in mapping.columns] for row in refused)
    )
    for part in _parts(values):
        texts = [pa.array([_text(value) for value in column], pa.string()) for column in zip(*part, strict=True)]
        digest.add_lines(_comparable(texts, mapping.columns))
    return digest.hexdigest()


def _parts(values: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    rows = iter(values)
    while part := list(itertools.islice(rows, _READ_ROWS)):
        yield part


def _text(value: Any) -> str | None:
    return None if value is None else repr(value) if isinstance(value, float) else text_of(value)


def _comparable(texts: Sequence[pa.Array], columns: Sequence[MappedColumn]) -> pa.Array:
    """Lines of values as the target's type holds them, so that 1.0 and 1.00 in a DECIMAL(18, 4) are the same."""
    return lines_of([_as_held(text, column.target) for text, column in zip(texts, columns, strict=True)])


def _as_held(text: pa.Array, target: TargetColumn) -> pa.Array:
    kind = target.data_type
    if kind == "decimal" and target.precision <= 38:
        return texts_of(text.cast(pa.decimal128(target.precision, target.scale)))
    if kind in ("double", "float"):
        return texts_of(pc.add(text.cast(pa.float64()), 0.0))  # MariaDB's DOUBLE has no negative zero
    if kind in ("datetime", "timestamp"):
        return texts_of(text.cast(pa.timestamp("us")))
    if target.is_binary:
        return pc.utf8_lower(text)
    if kind == "json":
        return pa.array([None if value is None else _json_as_held(value) for value in text.to_pylist()], pa.string())
    if kind == "time" or kind == "decimal":
        return pc.replace_substring_regex(pc.replace_substring_regex(text, r"\.0+$", ""), r"(\.\d*[1-9])0+$", r"\1")
    return text


def _json_as_held(text: str) -> str:
    return json.dumps(json.loads(text, parse_float=lambda digits: str(Decimal(digits).normalize())), sort_keys=True)
