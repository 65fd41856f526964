"""The output of the warehouse's commands: lines for people, and the stable form of `--json`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from pipeline.printable import printable
from pipeline.text import UNCHANGED, as_table, plural, rfc3339
from pipeline.warehouse.ledger import SnapshotEntry
from pipeline.warehouse.load import Loaded
from pipeline.warehouse.rollback import Move
from pipeline.warehouse.sync import SyncRequest

_HISTORY_HEAD = ["snapshot", "taken at (UTC)", "source", "status", "rows", "rejected", "views"]


def loads_json(loads: Sequence[Loaded], request: SyncRequest) -> dict[str, Any]:
    """The result of a sync: one load, or with --all-versions a list of them."""
    forms = [loaded_json(loaded, request.dry_run) for loaded in loads]
    return {"schema_version": 1, "loads": forms} if request.all_versions else forms[0]


def loads_lines(loads: Sequence[Loaded], request: SyncRequest) -> list[str]:
    return [line for loaded in loads for line in loaded_lines(loaded, request.dry_run)]


def loaded_json(loaded: Loaded, dry_run: bool) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "dry_run": dry_run,
        "snapshot_version": loaded.version,
        "unchanged": loaded.unchanged,
        "in_bulk": loaded.in_bulk,
        "facts": [
            {
                "feed": fact.feed,
                "fact": fact.fact,
                "rows": fact.rows,
                "rejected": fact.rejected,
                "new_dimension_members": fact.new_members,
                "first_new_dimension_members": fact.first_new_members,
                "lake_version": fact.lake_version,
                "shown": fact.is_newest,
            }
            for fact in loaded.facts
        ],
    }


def loaded_lines(loaded: Loaded, dry_run: bool) -> list[str]:
    """What a load did."""
    lines = []
    for fact in loaded.facts:
        line = f"{fact.fact}: {plural(fact.rows, 'row')}"
        if fact.lake_version is not None:
            line += f" from lake version {fact.lake_version}"
        if fact.new_members:
            shown = ", ".join(fact.first_new_members[:5]) + (", ..." if fact.new_members > 5 else "")
            line += f"; new in its dimension: {fact.new_members} ({shown})"
        lines.append(line)
        lines += [f"  rejected {r.row_key}: {r.column} {r.reason}" for r in fact.first_rejects]
        if fact.rejected > len(fact.first_rejects):
            lines.append(f"  {fact.rejected} rejects in all")
    if dry_run:
        lines.append(UNCHANGED)
    elif loaded.unchanged:
        lines.append(f"These rows are in the warehouse already, as snapshot {loaded.version}; nothing was changed.")
    else:
        lines.append(f"Loaded as snapshot {loaded.version}.")
        if not loaded.in_bulk:
            lines.append("Rows were sent by INSERT: the server has local_infile off, which is slower.")
        if older := [fact.fact for fact in loaded.facts if not fact.is_newest]:
            lines.append(f"Younger rows are there already, which the current_* views go on showing: {', '.join(older)}")
    if any(fact.rejected for fact in loaded.facts):
        lines.append("Some rows did not fit; " + ("they would be" if dry_run else "they are") + " kept in etl_rejects.")
    return [printable(line) for line in lines]  # keys, members and reasons are of the data


def history_json(entries: Sequence[SnapshotEntry]) -> dict[str, Any]:
    times = ("taken_at", "loaded_at")
    return {
        "schema_version": 1,
        "snapshots": [vars(entry) | {name: rfc3339(getattr(entry, name)) for name in times} for entry in entries],
    }


def history_lines(entries: Sequence[SnapshotEntry]) -> list[str]:
    """A line a snapshot, with the number of views that show it, then the facts of these views."""
    rows = [
        [str(e.version), f"{e.taken_at:%Y-%m-%d %H:%M}", e.source, e.status, f"{e.row_count:,}",
         f"{e.rejected_count:,}", str(len(e.shown) or "")]
        for e in entries
    ]  # fmt: skip
    lines = [as_table(rows, _HISTORY_HEAD, right={0, 4, 5, 6})]
    for entry in entries:
        if entry.shown:
            lines += ["", f"The views of these facts show snapshot {entry.version}:"]
            lines += [f"  {fact}" for fact in entry.shown]
    return lines


def moves_json(moves: Sequence[Move], dry_run: bool) -> dict[str, Any]:
    return {"schema_version": 1, "dry_run": dry_run, "moves": [vars(move) for move in moves]}


def moves_lines(moves: Sequence[Move], snapshot: int, dry_run: bool) -> list[str]:
    lines = [f"{move.fact}: snapshot {move.before or 'none'} -> {move.after}" for move in moves]
    if not moves:
        return [f"The views show snapshot {snapshot} already; nothing was changed."]
    return [*lines, UNCHANGED] if dry_run else lines


def expiry_json(versions: Sequence[int], dry_run: bool) -> dict[str, Any]:
    return {"schema_version": 1, "dry_run": dry_run, "snapshots": list(versions)}


def expiry_lines(versions: Sequence[int], dry_run: bool) -> list[str]:
    done = UNCHANGED if dry_run or not versions else f"{plural(len(versions), 'snapshot')} deleted"
    return [f"snapshots to delete: {', '.join(map(str, versions)) or 'none'}", done]


def redate_json(snapshot: int, before: dt.datetime, after: dt.datetime, dry_run: bool) -> dict[str, Any]:
    moved = {"before": rfc3339(before), "after": rfc3339(after)}
    return {"schema_version": 1, "dry_run": dry_run, "snapshot": snapshot, **moved}


def redate_lines(snapshot: int, before: dt.datetime, after: dt.datetime, dry_run: bool) -> list[str]:
    lines = [f"snapshot {snapshot}: {rfc3339(before)} -> {rfc3339(after)}"]
    return [*lines, UNCHANGED] if dry_run else lines
