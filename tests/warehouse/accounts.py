"""The accounts of docs/warehouse.md, made from its own statements: one that loads, one that makes the schema."""

from __future__ import annotations

import dataclasses
import re

from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.migrations import init_schema, statements
from pipeline.warehouse.server import Server
from tests.support import ROOT

SYNC, SCHEMA = "lake", "lake_schema"
PASSWORD = "l4ke's own"


def documented() -> list[str]:
    """The statements of the section Rights, as they are there."""
    section = (ROOT / "docs" / "warehouse.md").read_text(encoding="utf-8").split("\n## Rights\n")[1].split("\n## ")[0]
    return [sql for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL) for sql in statements(block)]


def make_accounts(root: Server) -> None:
    """Runs them for the database of `root`; accounts that are there for another database get this one too."""
    for_this = {"data_warehouse.": f"{quote(root.database)}.", "CREATE USER": "CREATE USER IF NOT EXISTS"}
    with Connection(root, with_database=False) as connection:
        for sql in documented():
            for old, new in for_this.items():
                sql = sql.replace(old, new)
            if "'...'" in sql:
                connection.run(sql.replace("'...'", "%s"), (PASSWORD,))
            else:
                connection.run(sql)


def made_warehouse(root: Server) -> Server:
    """A new star schema, made by the one account, for the other one to load."""
    make_accounts(root)
    init_schema(as_maker(root), ROOT / "sql")
    return dataclasses.replace(root, user=SYNC, password=PASSWORD)


def as_maker(server: Server) -> Server:
    """The same database, for the account that makes tables."""
    return dataclasses.replace(server, user=SCHEMA, password=PASSWORD)


def as_root(server: Server) -> Server:
    """The same database, for what the documented accounts may not do."""
    return dataclasses.replace(server, user="root", password="")
