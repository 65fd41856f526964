"""A snapshot's rows in tables of this session only: the fact's rows, its dimension's members, and the rejects.

Nothing here is seen by anyone else; a session that ends, however it ends, takes its staging tables along.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.content import ContentHash, lines_of
from pipeline.warehouse.bulk import pieces, send_rows
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.members import Members
from pipeline.warehouse.plan import Plan
from pipeline.warehouse.rows import Reject, StagedColumn, split_rejects, staged_texts
from pipeline.warehouse.schema import TargetColumn

REJECTS = "stg_rejects"
SHOWN_REJECTS = 5
_AHEAD = 2  # pieces in memory besides the one that is being sent


@dataclass
class Staged:
    """What was staged of one snapshot. `content_hash` is of the fact's rows, the members and the rejects."""

    plan: Plan
    rows: int = 0
    rejected: int = 0
    first_rejects: list[Reject] = field(default_factory=list)
    content_hash: str = ""


def stage_all(connection: Connection, plans: Sequence[Plan]) -> list[Staged]:
    """Streams the snapshots into staging tables; rows that do not fit their columns become rejects."""
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(REJECTS)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(REJECTS)} (reject_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
        " fact_table VARCHAR(64) NOT NULL, row_key TEXT NOT NULL, column_name VARCHAR(64) NOT NULL,"
        " reason VARCHAR(500) NOT NULL, row_json LONGTEXT NOT NULL)"
        " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )
    return [_stage(connection, plan) for plan in plans]


def add_rejects(connection: Connection, fact: str, rejects: Sequence[Reject]) -> None:
    """Keeps rejects until they are published."""
    connection.insert(
        REJECTS,
        ("fact_table", "row_key", "column_name", "reason", "row_json"),
        [(fact, r.row_key[:1000], r.column[:64], r.reason[:500], r.row_json) for r in rejects],
    )


def _stage(connection: Connection, plan: Plan) -> Staged:
    dimension = plan.mapping.dimension
    if dimension is None:
        return _stage_fact(connection, plan, None)
    with Members(dimension, plan.snapshot.schema) as members:
        return _stage_fact(connection, plan, members)


def _stage_fact(connection: Connection, plan: Plan, members: Members | None) -> Staged:
    staged, digest = Staged(plan), ContentHash()
    _make_table(connection, plan.staging, plan.columns)
    for part in _converted(plan.snapshot.batches(), plan):
        digest.merge(part.digest)
        if part.rejects:
            add_rejects(connection, plan.fact, part.rejects)
            staged.rejected += len(part.rejects)
            staged.first_rejects += part.rejects[: SHOWN_REJECTS - len(staged.first_rejects)]
        if members is not None:
            members.add(part.fitting)
        send_rows(connection, plan.staging, plan.columns, part.texts, part.lines)
        staged.rows += len(part.lines)
    if members is not None:
        _make_table(connection, plan.member_staging, plan.members)
        for batch in members.batches():
            for piece in pieces(batch):
                texts = staged_texts(piece, plan.members)
                lines = lines_of(texts)
                digest.add_lines(lines, b"member")
                send_rows(connection, plan.member_staging, plan.members, texts, lines)
    staged.content_hash = digest.hexdigest()
    return staged


@dataclass(frozen=True)
class _Part:
    """A piece of the snapshot, ready to be sent."""

    fitting: pa.RecordBatch
    rejects: list[Reject]
    texts: list[pa.Array]
    lines: pa.Array
    digest: ContentHash


def _converted(batches: Iterator[pa.RecordBatch], plan: Plan) -> Iterator[_Part]:
    """The snapshot's pieces in their order; the next ones are converted while one is being sent."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Future[_Part]] = deque()
        for batch in batches:
            for piece in pieces(batch):
                waiting.append(pool.submit(_convert, piece, plan))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _convert(piece: pa.RecordBatch, plan: Plan) -> _Part:
    fitting, rejects = split_rejects(piece, (*plan.columns, *plan.members), plan.mapping)
    texts = staged_texts(fitting, plan.columns)
    lines, digest = lines_of(texts), ContentHash()
    digest.add_lines(lines)
    if rejects:
        digest.add_lines(lines_of([pa.array([reject.row_json for reject in rejects], pa.string())]), b"reject")
    return _Part(fitting, rejects, texts, lines, digest)


def _make_table(connection: Connection, table: str, columns: Sequence[StagedColumn]) -> None:
    declared = ",\n  ".join(f"{quote(column.name)} {_declare(column.target)}" for column in columns)
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(table)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(table)} (\n  staging_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,\n"
        f"  {declared}\n) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )


def _declare(target: TargetColumn) -> str:
    return f"{target.column_type}{' COLLATE utf8mb4_bin' if target.is_text else ''} NULL"
