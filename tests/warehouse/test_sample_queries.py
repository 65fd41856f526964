"""The questions of `sql/04_sample_queries.sql` on two months of snapshots: answers by value, and plans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from data_lake_config import PROJECT_ROOT
from pipeline.warehouse.connection import Connection, text_of
from pipeline.warehouse.migrations import statements
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import as_root
from tests.warehouse.answers import Answers
from tests.warehouse.history import State

pytestmark = pytest.mark.mysql

# As servers have it; without it a question could depend on this project's own session settings.
STRICT = "SET SESSION sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO'"
# These read every snapshot of a fact, so a full scan of it is right for them.
WHOLE_HISTORY = {"cohorts", "growth", "ledger_agrees"}
_HEADING = re.compile(r"^-- ([a-z_]+): (.*)$", re.MULTILINE)


@cache
def questions() -> dict[str, str]:
    """The text of each question by its name."""
    text = (PROJECT_ROOT / "sql" / "04_sample_queries.sql").read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)
    return dict(zip(parts[::3], parts[2::3], strict=True))


@cache
def fact_aliases() -> tuple[set[str], set[str]]:
    """The aliases that our SQL files give to fact tables, and those that they give to anything else."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT_ROOT / "sql").glob("0[345]_*.sql")))
    named = re.findall(r"\b(?:FROM|JOIN) (\w+) AS (\w+)", text)
    facts = {alias for table, alias in named if table.startswith("fact_")}
    others = {alias for table, alias in named if table.startswith(("etl_", "dim_"))}
    return facts, others


@pytest.fixture
def session(history_server: Server) -> Iterator[Connection]:
    """As root: a plan of a view is shown only to accounts with SHOW VIEW."""
    with Connection(as_root(history_server)) as connection:
        connection.run(STRICT)
        yield connection


def ask(connection: Connection, name: str) -> str:
    """Runs the question's SET statements; returns its query."""
    *settings, query = statements(questions()[name], connection.server.database)
    for setting in settings:
        connection.run(setting)
    return query


def rows_read(connection: Connection) -> int:
    """Rows that this session has read so far, through an index or by scanning, temporary tables included."""
    return sum(int(value) for _, value in connection.rows("SHOW SESSION STATUS LIKE 'Handler_read%'"))


@pytest.mark.parametrize("name", questions())
def test_the_answer_is_that_of_an_independent_computation(name: str, session: Connection, history: list[State]) -> None:
    rows = session.rows(ask(session, name))

    expected = getattr(Answers(history), name)()
    assert expected
    assert rows == expected


def test_every_question_is_answered_and_every_answer_asked() -> None:
    helpers = {"product_ranking", "user_segments", "payment_method_growth", "user_activity"}

    assert set(questions()) == {name for name in vars(Answers) if not name.startswith("_")} - helpers


@pytest.mark.parametrize("name", questions())
def test_no_fact_is_scanned_for_a_question_about_some_snapshots(name: str, session: Connection) -> None:
    query = ask(session, name)
    facts = fact_aliases()[0]

    plan = list(accesses(session, query))

    scanned = [access for access in plan if access[0] in facts and access[1] in ("ALL", "index")]
    assert name in WHOLE_HISTORY or not scanned


@pytest.mark.parametrize("name", sorted(set(questions()) - WHOLE_HISTORY))
def test_a_question_about_some_snapshots_reads_a_part_of_the_history(name: str, session: Connection) -> None:
    ((all_rows,),) = session.rows("SELECT COUNT(*) FROM fact_user_transaction_summary")
    query = ask(session, name)
    before = rows_read(session)

    session.rows(query)

    assert rows_read(session) - before < all_rows / 3


def test_the_plan_of_a_bad_question_is_seen_to_be_bad(session: Connection) -> None:
    query = "SELECT COUNT(*) FROM fact_user_transaction_summary AS f WHERE f.transaction_count + 0 = 7"

    assert list(accesses(session, query)) == [("f", "ALL")]
    before = rows_read(session)
    session.rows(query)
    assert rows_read(session) - before > 30_000


def test_an_alias_stands_for_facts_or_for_other_tables() -> None:
    """So that a plan, which names aliases, can be read."""
    facts, others = fact_aliases()

    assert facts and others and not facts & others


def test_a_lost_row_shows_in_the_ledgers_question(session: Connection) -> None:
    session.run("DELETE FROM fact_product_purchase_counts WHERE snapshot_version = 3 LIMIT 2")

    differences = [row for row in session.rows(ask(session, "ledger_agrees")) if row[3]]

    assert [(row[0], row[1], row[3]) for row in differences] == [(3, "fact_product_purchase_counts", 2)]


def accesses(connection: Connection, query: str) -> Iterator[tuple[str, str]]:
    """Alias and access type of each table in the plan; without rows that stand for no table."""
    for row in connection.rows(f"EXPLAIN FORMAT=TRADITIONAL {query}"):
        # MySQL puts partitions between the table and the access type.
        cells: list[Any] = [None if cell is None else text_of(cell) for cell in row]
        table, kind = cells[2], cells[4] if len(cells) == 12 else cells[3]
        if table is not None:
            yield table, kind
