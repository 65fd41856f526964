"""SELECT statements: their checks, the columns of their answers, and the rows of pulls and pushes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ksqldb_emulator.cluster import Pull
from ksqldb_emulator.dataset import Source
from ksqldb_emulator.expressions import PSEUDO, WINDOW, Expression, Row, bind, bind_condition, names_in
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sql import Refused, Select, name_of, parse, split
from ksqldb_emulator.state import POLL_RECORDS, LiveQuery, State, key_of, row_of
from ksqldb_emulator.values import encode, to_json

_ADD_EMIT = "\nAdd EMIT CHANGES if you intended to issue a push query."
_NOT_IN_PULLS = ("ROWPARTITION", "ROWOFFSET")


@dataclass(frozen=True)
class Plan:
    """An accepted SELECT: its columns and its row filter. `marks_keys` is true for headers of table pulls."""

    select: Select
    text: str
    source: Source
    columns: tuple[tuple[str, Expression], ...]
    matches: Callable[[Row], bool]
    query_id: str

    @property
    def marks_keys(self) -> bool:
        return self.source.kind == "TABLE" and not self.select.push

    def header_schema(self) -> str:
        keys = {*self.source.keys, *WINDOW} if self.marks_keys else set()
        return ", ".join(
            f"`{name}` {expression.type}{' KEY' if expression.column in keys else ''}"
            for name, expression in self.columns
        )

    def metadata(self) -> str:
        return to_json(
            {
                "queryId": self.query_id,
                "columnNames": [name for name, _ in self.columns],
                "columnTypes": [str(expression.type) for _, expression in self.columns],
            }
        )

    def encode(self, row: Row, tombstone: bool = False) -> str:
        """A row as a JSON array; for a delete only the key columns are filled."""
        values = (
            encode(None if tombstone and expression.column not in self.source.keys else expression.evaluate(row),
                   expression.type)
            for _, expression in self.columns
        )  # fmt: skip
        return "[" + ",".join(values) + "]"


def plan(state: State, text: str) -> Plan:
    """Checks a query as the server does. Raises Refused."""
    parts = split(text)
    if len(parts) != 1:
        raise Refused(
            f"Expected exactly one KSQL statement; found {len(parts)} instead\nStatement: {text}", statement=text
        )
    select = parse(text)
    if not isinstance(select, Select):
        raise Refused(f"Neither a query nor a print statement\nStatement: {text}", statement=text)
    source = state.find(select.source)
    if source is None:
        hint = ""
        if state.find(select.source.upper()):
            hint = f"\nDid you mean {select.source.upper()}? Hint: try removing double quotes from the source name."
        raise Refused(f"Exception while preparing statement: {select.source} does not exist.{hint}", statement=text)
    if not select.push:
        _check_pull(select, source, text)
    scope = {column.name: column.type for column in source.columns} | PSEUDO
    if source.window_type:
        scope |= WINDOW
    try:
        columns = tuple(_columns(select, source, scope))
        matches = bind_condition(select.where, scope)
    except KeyError as error:
        raise Refused(
            f"Line: 1, Col: {_column_of(select, error.args[0])}: SELECT column '{error.args[0]}' cannot be resolved.",
            statement=text,
        ) from None
    return Plan(
        select, text, source, columns, matches, state.new_id(select.push or source.kind == "STREAM", source.name)
    )


def _check_pull(select: Select, source: Source, text: str) -> None:
    for where, names in (
        ("SELECT", [n for tree, _ in select.items for n in sorted(names_in(tree), key=_order)]),
        ("WHERE", sorted(names_in(select.where), key=_order)),
    ):
        bad = ", ".join(f"`{name}`" for name in names if name in _NOT_IN_PULLS)
        if bad:
            raise Refused(
                f"Pull queries don't support the following columns in {where} clauses: {bad}\n"
                f" See https://cnfl.io/queries for more info.{_ADD_EMIT}",
                statement=text,
            )
    if source.kind == "STREAM":
        return
    if source.write_query is None and "SOURCE TABLE" not in source.statement:
        name = source.name
        raise Refused(
            f"The `{name}` table isn't queryable. To derive a queryable table, you can do 'CREATE TABLE "
            f"QUERYABLE_{name} AS SELECT * FROM {name}'. See https://cnfl.io/queries for more info.{_ADD_EMIT}",
            statement=text,
        )
    if len(select.items) > 1 and any(tree is None for tree, _ in select.items):
        raise Refused("Pull queries only support wildcards in the projects if they are the only expression",
                      statement=text)  # fmt: skip


def _order(name: str) -> int:
    return _NOT_IN_PULLS.index(name) if name in _NOT_IN_PULLS else -1


def _column_of(select: Select, name: str) -> int:
    for tree, _ in select.items:
        for node in tree.find_data("reference") if tree is not None else ():
            if name_of(node.children[0]) == name:
                return int(node.children[0].children[0].column)
    return 1


def _columns(select: Select, source: Source, scope: dict[str, Any]) -> list[tuple[str, Expression]]:
    found: list[tuple[str, Expression]] = []
    for index, (tree, alias) in enumerate(select.items):
        if tree is None:
            keys = [column.name for column in source.columns if column.role == "KEY"]
            values = [column.name for column in source.columns if column.role != "KEY"]
            names = [*keys, *(WINDOW if source.window_type else ()), *values]
            found.extend((name, _column(name, scope)) for name in names)
        else:
            expression = bind(tree, scope)
            found.append((alias or expression.column or f"KSQL_COL_{index}", expression))
    return found


def _column(name: str, scope: dict[str, Any]) -> Expression:
    return Expression(scope[name], lambda row: row.get(name), column=name)


def pull_rows(state: State, plan: Plan, fault: Fault, fate: Pull = Pull.WHOLE) -> tuple[list[str], bool]:
    """The encoded rows of a pull, and whether its LIMIT ended it."""
    source = plan.source
    if source.kind == "TABLE":
        # A scan of session windows is silently empty; only a key predicate reads them.
        scan = source.window_type == "SESSION" and not names_in(plan.select.where) & set(source.keys)
        rows = [] if scan else state.rows_of_table(source)
    else:
        rows = [row_of(record) for record in state.live_records(source) if record.values is not None]
    kept = [row for row in rows if plan.matches(row)]
    if fate is Pull.EMPTY:
        kept = []
    elif fate is not Pull.WHOLE:
        kept = [row for row in kept if not state.cluster.had_row(source, key_of(source, row))]
    if fault.keep_share is not None:
        kept = kept[: int(len(kept) * fault.keep_share)]
    limited = plan.select.limit is not None and len(kept) >= plan.select.limit
    kept = kept[: plan.select.limit]
    encoded = [plan.encode(row) for row in kept]
    if fault.replay_rows:
        encoded += encoded[-fault.replay_rows :]
    return encoded, limited


@dataclass
class Pace:
    """The speed of a push's scan: rows a second (0: unlimited), and the pause after each poll."""

    rows_per_s: float = 0
    poll_pause_s: float = 0


async def paused(seconds: Callable[[], float]) -> None:
    """Waits until `seconds` have passed; the function is called repeatedly, because its result may change."""
    start = time.monotonic()
    while time.monotonic() - start < seconds():
        await asyncio.sleep(0.02)


async def push_rows(
    state: State, plan: Plan, query: LiveQuery, from_latest: bool, pace: Pace
) -> AsyncIterator[tuple[str, bool]]:
    """The encoded rows of a push as they come, each with whether it is a delete; ends when the query is closed."""
    source, at = query.source, 0
    if from_latest:
        at = len(state.visible(source))
    sent_keys: set[str] = set()
    while not query.closing:
        batch = state.visible(source, at, POLL_RECORDS)
        for record in batch:
            query.fetched[record.partition] = record.offset
        at += len(batch)
        batch = [record for record in batch if record.offset >= source.log_start.get(record.partition, 0)]
        if batch:
            await paused(partial(_scan_s, query, pace, len(batch)))
        for row, tombstone in _changes(source, batch, sent_keys):
            if tombstone or plan.matches(row):
                yield plan.encode(row, tombstone), tombstone
        for record in batch:
            query.processed[record.partition] = record.offset + 1
        query.commit(time.monotonic())
        if pace.poll_pause_s or len(batch) < POLL_RECORDS:
            await paused(lambda: 0 if query.closing else pace.poll_pause_s or 0.02)


def _scan_s(query: LiveQuery, pace: Pace, rows: int) -> float:
    return rows / pace.rows_per_s if pace.rows_per_s and not query.closing else 0


def _changes(source: Source, batch: list[Any], sent_keys: set[str]) -> list[tuple[dict[str, Any], bool]]:
    """Rows of a stream as they are; of a table the last change of each key, as the server's cache merges them."""
    if source.kind == "STREAM":
        return [(row_of(record), False) for record in batch if record.values is not None]
    last: dict[str, tuple[dict[str, Any], bool]] = {}
    for record in batch:
        row = row_of(record)
        key = repr([row.get(name) for name in source.keys] + [record.window])
        last.pop(key, None)
        last[key] = (row, record.values is None)
    changes = []
    for key, (row, tombstone) in last.items():
        if not tombstone or key in sent_keys:
            changes.append((row, tombstone))
        (sent_keys.discard if tombstone else sent_keys.add)(key)
    return changes
