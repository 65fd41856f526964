"""Whole-star loads: all tables of a sync in one transaction, with their ledger rows.

Members of dimensions and rejects are first sent to temporary tables of the session; then one transaction fills
dimensions, facts, ledger, rejects and the pointer of the current_* views, and its COMMIT makes the new star visible. A
snapshot's rows are sent directly to their facts. When a fact refuses one of them, the transaction is rolled back, the
rows are sent to a temporary table too, and set-based statements find the refused ones. If client or server is killed
before the COMMIT, the old star stays as it was and the temporary tables are gone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.errors import MappingDoesNotFit, RowRefused, RowsDoNotFit, RowsLost
from pipeline.progress import Progress
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.dimension import add_members, keep_history
from pipeline.warehouse.fact import FillFact, insert_row_table, send_to_fact
from pipeline.warehouse.fitting import Reject
from pipeline.warehouse.ledger import (
    FactEntry,
    add_fact,
    add_snapshot,
    facts_of,
    is_newest,
    leads_dimension,
    record_identity,
    refuse_older_lake,
    same_content,
    same_lake_versions,
    show,
    time_in_order,
)
from pipeline.warehouse.mapping import ResolvedMapping, TableSnapshot, resolve_mapping
from pipeline.warehouse.session_tables import publish_rejects, send_members, send_rows
from pipeline.warehouse.sorted_rows import SHOWN_REJECTS, SortedRows


@dataclass(frozen=True)
class LoadedFact:
    """The result for one table of a sync; where `is_newest` is false its view still shows younger rows.

    `first_rejects` and `first_new_members` have the first few of these.
    """

    feed: str
    fact: str
    rows: int
    rejected: int
    first_rejects: Sequence[Reject] = ()
    new_members: int = 0
    first_new_members: Sequence[str] = ()
    lake_version: int | None = None
    is_newest: bool = True


@dataclass(frozen=True)
class Loaded:
    """The result of a sync. `version` is None when nothing was loaded; `unchanged` says that the warehouse already had
    the snapshot. `in_bulk` says that rows were sent by LOAD DATA LOCAL, not by INSERT.
    """

    facts: Sequence[LoadedFact]
    version: int | None = None
    unchanged: bool = False
    in_bulk: bool = False


@dataclass(frozen=True)
class _Star:
    """The rows of every table of a load, and the values for the ledger."""

    tables: Sequence[SortedRows]
    source: str
    taken_at: dt.datetime
    loaded_at: dt.datetime
    strict: bool


def load_star(
    connection: Connection,
    snapshots: Sequence[TableSnapshot],
    source: str,
    now: dt.datetime,
    *,
    dry_run: bool = False,
    strict: bool = False,
    scd2: Collection[str] = (),
    progress: Progress | None = None,
) -> Loaded:
    """Loads the snapshots as one new snapshot of the warehouse, unless the warehouse already has them.

    `strict` raises RowsDoNotFit for a row that does not fit, instead of keeping it as a reject; `scd2` are the
    dimensions whose history is kept; `progress` counts. A dry run does all of it and rolls it back. Raises
    MappingDoesNotFit and LakeWentBack before anything is written, and the connection's errors. The transaction is tried
    again a few times when other sessions hold rows that it needs.
    """
    mappings = [resolve_mapping(connection, snapshot, scd2) for snapshot in snapshots]
    _refuse_shared_facts(mappings)
    with contextlib.ExitStack() as kept:
        kept.enter_context(connection.hold_warehouse())
        if source == "lake":
            refuse_older_lake(connection, mappings)
            known = same_lake_versions(connection, ((mapping.fact, mapping.snapshot, None) for mapping in mappings))
            if known is not None:
                return _already_there(connection, mappings, known)
        tables, progress = list[SortedRows](), progress or Progress()
        for mapping in mappings:
            meter = kept.enter_context(progress.at(mapping.snapshot.feed, "sorting"))
            tables.append(kept.enter_context(SortedRows(mapping, meter)))
        taken_at = max(time_in_order(connection, mapping.fact, mapping.snapshot) for mapping in mappings)
        star = _Star(tables, source, taken_at, now, strict)
        same = _same_rows(connection, star, dry_run)
        if same is not None:
            return _already_there(connection, mappings, same)
        return _load(connection, star, dry_run)


def _refuse_shared_facts(mappings: Sequence[ResolvedMapping]) -> None:
    for fact in {mapping.fact for mapping in mappings}:
        feeds = [mapping.snapshot.feed for mapping in mappings if mapping.fact == fact]
        if len(feeds) > 1:
            raise MappingDoesNotFit(
                f"{' and '.join(feeds)} are mapped to one table, {fact}", "give each feed a fact of its own"
            )


def _same_rows(connection: Connection, star: _Star, dry_run: bool) -> int | None:
    """The snapshot that already has these rows; None if there is none."""
    if star.source == "ksqldb":
        hashes = ((rows.mapping.fact, rows.content_hash) for rows in star.tables)
        return same_content(connection, hashes, star.taken_at.date())
    wanted = ((rows.mapping.fact, rows.mapping.snapshot, rows.content_hash) for rows in star.tables)
    same = same_lake_versions(connection, wanted)
    if same is not None and not dry_run:
        with connection.transaction():
            for rows in star.tables:
                record_identity(connection, same, rows.mapping.fact, rows.mapping.snapshot)
    return same


def _already_there(connection: Connection, mappings: Sequence[ResolvedMapping], version: int) -> Loaded:
    entries = {entry.fact: entry for entry in facts_of(connection, version)}
    facts = [
        LoadedFact(entry.feed, entry.fact, entry.row_count, entry.rejected_count, lake_version=entry.lake_version)
        for entry in (entries[mapping.fact] for mapping in mappings)
    ]
    return Loaded(facts, version, unchanged=True)


def _load(connection: Connection, star: _Star, dry_run: bool) -> Loaded:
    send_members(connection, star.tables)
    try:
        publish = functools.partial(_publish, connection, star, send_to_fact)
        version, facts = connection.in_transaction(publish, commit=not dry_run)
    except RowRefused:
        send_rows(connection, star.tables)
        publish = functools.partial(_publish, connection, star, insert_row_table)
        version, facts = connection.in_transaction(publish, commit=not dry_run)
    return Loaded(facts, None if dry_run else version, in_bulk=connection.takes_local_files)


def _publish(connection: Connection, star: _Star, fill_fact: FillFact) -> tuple[int, list[LoadedFact]]:
    """Fills every table of the star: all that a load does in its transaction. Returns the snapshot's number and facts.

    Raises RowsDoNotFit where rejects are not allowed.
    """
    version = add_snapshot(connection, star.source, star.taken_at, star.loaded_at)
    facts, histories = {}, set()
    # Tables whose attributes have a time come last, so that these win over attributes without one.
    for rows in sorted(star.tables, key=lambda rows: rows.mapping.has_time):
        mapping = rows.mapping
        rows.begin_sorting()  # while the server merges the members
        newest = is_newest(connection, mapping.fact, mapping.snapshot)
        leads = newest and _leads_dimension(connection, mapping, star.taken_at)
        count, first = add_members(connection, rows, leads)
        entry, refused = _publish_fact(connection, rows, version, star.taken_at, fill_fact, newest)
        facts[mapping.fact] = LoadedFact(
            entry.feed, entry.fact, entry.row_count, entry.rejected_count,
            (rows.first_rejects + refused)[:SHOWN_REJECTS], count, first, entry.lake_version, newest,
        )  # fmt: skip
        if leads and mapping.history is not None:
            histories.add(mapping.history)
    for history in histories:
        keep_history(connection, history, star.taken_at)
    publish_rejects(connection, version)
    in_order = [facts[rows.mapping.fact] for rows in star.tables]
    if star.strict:
        _refuse_rejects(in_order)
    return version, in_order


def _leads_dimension(connection: Connection, mapping: ResolvedMapping, taken_at: dt.datetime) -> bool:
    dimension = mapping.dimension
    return dimension is not None and leads_dimension(connection, dimension.table, taken_at)


def _publish_fact(
    connection: Connection, rows: SortedRows, version: int, taken_at: dt.datetime, fill_fact: FillFact, newest: bool
) -> tuple[FactEntry, list[Reject]]:
    """Fills one fact and its ledger line, and moves its view when the rows are the newest."""
    snapshot, fact = rows.mapping.snapshot, rows.mapping.fact
    count, refused = fill_fact(connection, rows, version, taken_at)
    if count + len(refused) != rows.row_count:
        raise RowsLost(f"{count} of {rows.row_count} rows reached {fact}; nothing was loaded", "run the command again")
    entry = FactEntry(
        fact, snapshot.feed, snapshot.lake_version, count, rows.reject_count + len(refused), rows.content_hash,
        snapshot.lake_id, snapshot.lake_files, newest,
    )  # fmt: skip
    add_fact(connection, version, entry)
    if newest:
        show(connection, fact, version)
    return entry, refused


def _refuse_rejects(facts: Sequence[LoadedFact]) -> None:
    bad = [fact for fact in facts if fact.rejected]
    if not bad:
        return
    counts = ", ".join(f"{fact.rejected} of {fact.fact}" for fact in bad)
    first = bad[0].first_rejects[0]
    raise RowsDoNotFit(
        f"rows do not fit ({counts}), the first: {first.row_key}: {first.column} {first.reason}; nothing was loaded",
        "correct them at the source, or load without --strict to keep them as rejects",
    )
