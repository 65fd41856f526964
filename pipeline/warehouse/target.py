"""The warehouse as it exists: its tables' columns and unique keys, and what the server and the account can do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import WarehouseRefused
from pipeline.warehouse.connection import Connection, quote, text_of


@dataclass(frozen=True)
class TargetColumn:
    """A column of the warehouse, as information_schema has it; sizes are 0 where the type has none.

    MariaDB's JSON is LONGTEXT with a check: its `data_type` is `json` here, its `column_type` stays `longtext`.
    `must_be_filled` says that it is NOT NULL without a default.
    """

    name: str
    data_type: str
    column_type: str
    nullable: bool
    length: int
    precision: int
    scale: int
    is_generated: bool = False
    must_be_filled: bool = False

    @property
    def family(self) -> str:
        """What kind of value it takes, as the table of types says it: `integer`, `text`, ...; else the type itself."""
        if self.data_type in ("tinyint", "smallint", "mediumint", "int", "bigint"):
            return "integer"
        if self.data_type in ("char", "varchar") or self.data_type.endswith("text"):
            return "text"
        if self.data_type.endswith(("binary", "blob")):
            return "binary"
        return {"float": "double", "timestamp": "datetime"}.get(self.data_type, self.data_type)

    @property
    def is_text(self) -> bool:
        return self.family == "text"

    @property
    def is_binary(self) -> bool:
        return self.family == "binary"


@dataclass(frozen=True)
class TargetTable:
    """A table of the warehouse: its columns by name, the columns of each of its unique keys, and its engine."""

    columns: Mapping[str, TargetColumn]
    unique_keys: frozenset[frozenset[str]]
    engine: str


def target_table(connection: Connection, table: str) -> TargetTable:
    """An existing table. Raises WarehouseRefused when it does not exist."""
    return TargetTable(
        target_columns(connection, table), _unique_keys(connection, table), _engine_of(connection, table)
    )


def target_columns(connection: Connection, table: str) -> dict[str, TargetColumn]:
    """The columns of a table. Raises WarehouseRefused when it does not exist."""
    rows = connection.rows(
        "SELECT column_name, data_type, column_type, is_nullable, character_maximum_length, character_octet_length,"
        " numeric_precision, numeric_scale, datetime_precision, column_default, extra, generation_expression"
        " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        (connection.server.database, table),
    )
    if not rows:
        raise WarehouseRefused(
            f"the warehouse {connection.server.database} has no table {table}",
            "python sync_to_mysql.py --init-schema; for a table of your own first keep what manage_feeds.py ddl prints",
        )
    found = {}
    json_columns = _json_columns(connection, table)
    for row in rows:
        name, data_type, column_type, nullable, chars, octets, precision, scale, fraction, default, extra, term = row
        kind, is_generated = text_of(data_type).lower(), bool(term)
        filled = default is not None or is_generated or "auto_increment" in text_of(extra)
        length = octets if kind.endswith(("blob", "binary", "text")) else chars
        found[text_of(name)] = TargetColumn(
            name=text_of(name),
            data_type="json" if text_of(name) in json_columns else kind,
            column_type=text_of(column_type).lower(),
            nullable=text_of(nullable) == "YES",
            length=int(length or 0),
            precision=int(precision or 0),
            scale=int((fraction if kind in ("datetime", "time", "timestamp") else scale) or 0),
            is_generated=is_generated,
            must_be_filled=text_of(nullable) == "NO" and not filled,
        )
    return found


def _engine_of(connection: Connection, table: str) -> str:
    """The storage engine of a table; `None` for a view."""
    query = "SELECT engine FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
    ((engine,),) = connection.rows(query, (connection.server.database, table))
    return text_of(engine)


def _json_columns(connection: Connection, table: str) -> set[str]:
    """The columns that MariaDB checks to be JSON; MySQL has a type for them."""
    if not connection.is_mariadb:
        return set()
    checks = connection.rows(
        "SELECT check_clause FROM information_schema.check_constraints"
        " WHERE constraint_schema = %s AND table_name = %s",
        (connection.server.database, table),
    )
    found = (re.fullmatch(r"json_valid\(`(.+)`\)", text_of(clause), re.IGNORECASE) for (clause,) in checks)
    return {match[1] for match in found if match}


def _unique_keys(connection: Connection, table: str) -> frozenset[frozenset[str]]:
    """The columns of each unique key, the primary key included; without keys on expressions or on prefixes of texts."""
    rows = connection.rows(
        "SELECT index_name, column_name, sub_part FROM information_schema.statistics"
        " WHERE table_schema = %s AND table_name = %s AND non_unique = 0",
        (connection.server.database, table),
    )
    keys: dict[str, set[str]] = {}
    partial = set()
    for index, column, part in rows:
        name = text_of(index)
        if column is None or part is not None:
            partial.add(name)
        else:
            keys.setdefault(name, set()).add(text_of(column))
    return frozenset(frozenset(columns) for name, columns in keys.items() if name not in partial)


def foreign_keys_of(connection: Connection, table: str) -> set[tuple[str, str, str]]:
    """Each foreign key of a table: its column, and the table and the column that it refers to.

    Keys of several columns, and those that refer to another database, are all of them, with "" as the table.
    """
    rows = connection.rows(
        "SELECT constraint_name, column_name, referenced_table_schema, referenced_table_name, referenced_column_name"
        " FROM information_schema.key_column_usage"
        " WHERE table_schema = %s AND table_name = %s AND referenced_table_name IS NOT NULL",
        (connection.server.database, table),
    )
    found: dict[str, list[tuple[str, str, str]]] = {}
    for name, column, schema, other, key in rows:
        is_here = text_of(schema) == connection.server.database
        found.setdefault(text_of(name), []).append((text_of(column), text_of(other) if is_here else "", text_of(key)))
    return {key if len(parts) == 1 else (key[0], "", key[2]) for parts in found.values() for key in parts}


def is_without_triggers(connection: Connection, table: str) -> bool:
    """Whether it is certain that a table has no trigger: MySQL shows them only to accounts with the right TRIGGER."""
    here = f" ON {quote(connection.server.database)}."
    places = (" ON *.* ", f"{here}* ", f"{here}{quote(table)} ")
    grants = [text_of(row[0]).replace("\\_", "_") for row in connection.rows("SHOW GRANTS FOR CURRENT_USER()")]
    showing = [grant for grant in grants if re.search(r"\b(TRIGGER|ALL PRIVILEGES)\b", grant)]
    if any(grant.startswith("REVOKE ") for grant in grants):
        return False  # of MySQL's partial_revokes
    if not any(place in grant for grant in showing for place in places):
        return False
    ((count,),) = connection.rows(
        "SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = %s AND event_object_table = %s",
        (connection.server.database, table),
    )
    return not count


OLDEST_MYSQL = (8, 0)
OLDEST_MARIADB = (10, 6)
NEEDED_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES")


@dataclass(frozen=True)
class ServerFacts:
    """Facts about a server: product and version, rights that the account lacks, LOAD DATA LOCAL, and Galera."""

    product: str
    version: str
    is_old: bool
    missing_rights: tuple[str, ...]
    local_infile: bool
    is_galera: bool


GALERA = (
    "this server is a node of a Galera cluster (wsrep_on), which loses updates even without faults: "
    "what is promised of loads holds for a single primary"
)


def is_galera(connection: Connection) -> bool:
    """Whether the server is a node of a Galera cluster, so one of several primaries."""
    rows = connection.rows("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'")
    return any(text_of(value).upper() in ("ON", "1") for _, value in rows)


def others_need_key_checks(connection: Connection) -> bool:
    """Whether other servers order changes by the locks that the look-up of a foreign key takes.

    Those are several primaries (Galera; MySQL's group replication in that mode), and MariaDB's replicas: they may run
    transactions in parallel until one waits for another. MySQL's go by the order of the commits here.
    """
    rows = connection.rows(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'group_replication_single_primary_mode')"
    )
    is_on = {text_of(name): text_of(value).upper() in ("ON", "1") for name, value in rows}
    if connection.is_mariadb and is_on["log_bin"]:
        return True
    return is_galera(connection) or not is_on.get("group_replication_single_primary_mode", True)


def server_facts(connection: Connection) -> ServerFacts:
    """Reads version, rights on the warehouse's database, local_infile and wsrep_on; changes nothing."""
    ((version, local_infile),) = connection.rows("SELECT VERSION(), @@local_infile")
    text, maria = text_of(version), connection.is_mariadb
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    grants = [text_of(row[0]).upper() for row in connection.rows("SHOW GRANTS FOR CURRENT_USER()")]
    database = connection.server.database.upper()
    on_us = [grant for grant in grants if " ON *.* " in grant or f"`{database}`" in grant.replace("\\_", "_")]
    missing = tuple(
        right
        for right in NEEDED_RIGHTS
        if not any("ALL PRIVILEGES" in grant or re.search(rf"\b{right}\b", grant) for grant in on_us)
    )
    return ServerFacts(
        product="MariaDB" if maria else "MySQL",
        version=text,
        is_old=numbers < (OLDEST_MARIADB if maria else OLDEST_MYSQL),
        missing_rights=missing,
        local_infile=bool(int(local_infile)),
        is_galera=is_galera(connection),
    )
