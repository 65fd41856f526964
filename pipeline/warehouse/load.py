"""Whole-star loads: all tables of a sync in one transaction, with their ledger rows.

Members go into session-private staging tables first; then one transaction fills dimensions, facts, ledger, rejects and
the pointer of the current_* views, and its COMMIT makes the new star visible. A snapshot's rows go straight into their
facts. When a fact refuses one of them, the transaction is rolled back, the rows are staged too, and set-based
statements find those that are refused. Killed at any point before the COMMIT, client or server, the old star stays as
it was and the staging tables are gone with the session.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pipeline.errors import MappingDoesNotFit, RowRefused, RowsDoNotFit, RowsLost
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.dimension import fill_dimension, keep_history, new_members, refuse_merged_members
from pipeline.warehouse.fact import fill_fact, send_to_fact
from pipeline.warehouse.fitting import Reject
from pipeline.warehouse.ledger import (
    FactEntry,
    add_fact,
    add_snapshot,
    facts_of,
    is_newest,
    leads_dimension,
    record_identity,
    same_content,
    same_lake_versions,
    show,
    time_in_order,
)
from pipeline.warehouse.mapping import Plan, TableSnapshot, make_plan
from pipeline.warehouse.session_tables import REJECTS, stage_members, stage_rows
from pipeline.warehouse.sorted_rows import SHOWN_REJECTS, Spool


@dataclass
class LoadedFact:
    """What became of one table of a sync; where `is_newest` is false its view goes on showing younger rows.

    `first_rejects` and `first_new_members` are the first few of them.
    """

    feed: str
    fact: str
    rows: int
    rejected: int
    first_rejects: list[Reject] = field(default_factory=list)
    new_members: int = 0
    first_new_members: list[str] = field(default_factory=list)
    lake_version: int | None = None
    is_newest: bool = True


@dataclass
class Loaded:
    """What a sync did. `version` is None when nothing was loaded; `unchanged` says that it was there already.

    `in_bulk` says that rows were sent by LOAD DATA LOCAL, else by INSERT.
    """

    facts: list[LoadedFact]
    version: int | None = None
    unchanged: bool = False
    in_bulk: bool = False


class _DryRun(Exception):
    """Ends the transaction of a dry run, so that nothing of it stays."""


def load_star(
    connection: Connection,
    snapshots: Sequence[TableSnapshot],
    source: str,
    now: dt.datetime,
    *,
    dry_run: bool = False,
    strict: bool = False,
    scd2: Collection[str] = (),
) -> Loaded:
    """Loads the snapshots as one new snapshot of the warehouse, or finds that they are there already.

    `strict` raises RowsDoNotFit for a row that does not fit, instead of keeping it as a reject; `scd2` are the
    dimensions whose history is kept. A dry run does all of it and rolls it back. Raises MappingDoesNotFit before
    anything is written, and the connection's errors. Where others hold rows that are needed, the transaction is tried
    again a few times.
    """
    plans = [make_plan(connection, snapshot, scd2) for snapshot in snapshots]
    _refuse_shared_facts(plans)
    with contextlib.ExitStack() as kept:
        kept.enter_context(connection.hold_warehouse())
        if source == "lake":
            known = same_lake_versions(connection, ((plan.fact, plan.snapshot, None) for plan in plans))
            if known is not None:
                return _already_there(connection, plans, known)
        spools = [kept.enter_context(Spool(plan)) for plan in plans]
        taken_at = max(time_in_order(connection, plan.fact, plan.snapshot) for plan in plans)
        same = _same_rows(connection, spools, source, taken_at, dry_run)
        if same is not None:
            return _already_there(connection, plans, same)
        stage_members(connection, spools)
        facts: list[LoadedFact] = []

        def publish(from_staging: bool) -> int:
            version = add_snapshot(connection, source, taken_at, now)
            facts[:] = _publish(connection, spools, version, taken_at, from_staging)
            if strict:
                _refuse_rejects(facts)
            if dry_run:
                raise _DryRun
            return version

        version = None
        with contextlib.suppress(_DryRun):
            try:
                version = connection.in_transaction(lambda: publish(from_staging=False))
            except RowRefused:
                stage_rows(connection, spools)
                version = connection.in_transaction(lambda: publish(from_staging=True))
        return Loaded(facts, version, in_bulk=connection.takes_local_files)


def _refuse_shared_facts(plans: Sequence[Plan]) -> None:
    for fact in {plan.fact for plan in plans}:
        feeds = [plan.snapshot.feed for plan in plans if plan.fact == fact]
        if len(feeds) > 1:
            raise MappingDoesNotFit(
                f"{' and '.join(feeds)} are mapped to one table, {fact}", "give each feed a fact of its own"
            )


def _same_rows(
    connection: Connection, spools: Sequence[Spool], source: str, taken_at: dt.datetime, dry_run: bool
) -> int | None:
    """The snapshot that has these rows already."""
    if source == "ksqldb":
        return same_content(connection, ((s.plan.fact, s.content_hash) for s in spools), taken_at.date())
    same = same_lake_versions(connection, ((s.plan.fact, s.plan.snapshot, s.content_hash) for s in spools))
    if same is not None and not dry_run:
        with connection.transaction():
            for spool in spools:
                record_identity(connection, same, spool.plan.fact, spool.plan.snapshot)
    return same


def _already_there(connection: Connection, plans: Sequence[Plan], version: int) -> Loaded:
    entries = {entry.fact: entry for entry in facts_of(connection, version)}
    facts = [
        LoadedFact(entry.feed, entry.fact, entry.row_count, entry.rejected_count, lake_version=entry.lake_version)
        for entry in (entries[plan.fact] for plan in plans)
    ]
    return Loaded(facts, version, unchanged=True)


def _publish(
    connection: Connection, spools: Sequence[Spool], version: int, taken_at: dt.datetime, from_staging: bool
) -> list[LoadedFact]:
    """Fills every table of the star; part of the load's transaction, which may be tried again."""
    facts, histories = {}, set()
    # Attributes that are told with a time are put in last, so that they win over those told without.
    for spool in sorted(spools, key=lambda spool: spool.plan.has_time):
        plan, told = spool.plan, spool.plan.snapshot
        newest = is_newest(connection, plan.fact, told)
        dimension = plan.mapping.dimension
        leads = newest and dimension is not None and leads_dimension(connection, dimension.table, taken_at)
        count, first = new_members(connection, plan)
        fill_dimension(connection, plan, leads)
        histories |= {plan.history} if leads else set()
        if count:
            refuse_merged_members(connection, plan)
        if from_staging:
            rows, refused = fill_fact(connection, plan, version, taken_at)
        else:
            rows, refused = send_to_fact(connection, spool, version, taken_at), []
        rejected = spool.reject_count + len(refused)
        if rows + len(refused) != spool.row_count:
            raise RowsLost(
                f"{rows} of {spool.row_count} rows reached {plan.fact}; nothing was loaded",
                "run the command again",
            )
        entry = FactEntry(
            plan.fact, told.feed, told.lake_version, rows, rejected, spool.content_hash,
            told.lake_id, told.lake_files, newest,
        )  # fmt: skip
        add_fact(connection, version, entry)
        if newest:
            show(connection, plan.fact, version)
        shown = (spool.first_rejects + refused)[:SHOWN_REJECTS]
        facts[plan.fact] = LoadedFact(
            entry.feed, entry.fact, rows, rejected, shown, count, first, entry.lake_version, newest
        )
    for history in histories:
        if history is not None:
            keep_history(connection, history, taken_at)
    connection.run(
        "INSERT INTO etl_rejects (snapshot_version, fact_table, row_key, column_name, reason, row_json)\n"
        f"SELECT %s, fact_table, row_key, column_name, reason, row_json FROM {quote(REJECTS)} ORDER BY reject_id",
        (version,),
    )
    return [facts[spool.plan.fact] for spool in spools]


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
