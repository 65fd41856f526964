"""Applies the files in `sql/` once each, in order, and records their checksums in the warehouse.

Each DDL statement commits, so a crash leaves some files applied and recorded, and one applied in part; every file can
be run twice, so the next run continues with that one. A warehouse without that record, because it is older or was made
with the `mysql` client, is adopted in the same way: existing tables stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import MigrationChanged, WarehouseRefused
from pipeline.feeds import MYSQL_NAME
from pipeline.warehouse.connection import Connection, quote, text_of
from pipeline.warehouse.server import Server

DEFAULT_DATABASE = "data_warehouse"
_OF_THE_SERVER = frozenset({"mysql", "sys", "information_schema", "performance_schema"})
_OURS = frozenset({"etl_schema_files", "etl_snapshots"})  # one of them is in every warehouse, new or old
_OWN_DATABASE = f"give the warehouse a database of its own: --database {DEFAULT_DATABASE}, or MYSQL_DATABASE"
_MIGRATION = re.compile(r"\d\d_.*(?<!sample_queries)\.sql")
_NAMES_DATABASE = re.compile(rf"(CREATE\s+DATABASE\s+IF\s+NOT\s+EXISTS|USE)\s+`?{DEFAULT_DATABASE}(?:`|(?!\w))", re.I)
_PART = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`"""
    r"""|(?P<comment>--(?=\s|$)[^\n]*|\#[^\n]*|/\*(?![!+M]).*?\*/)|(?P<end>;)|[^'"`\-\#/;]+|.""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Migration:
    """A file of the schema; `state` is `applied`, `missing` or `changed`. `sha256` is the same for CRLF line ends."""

    name: str
    text: str
    sha256: str
    state: str


def init_schema(server: Server, folder: Path) -> list[tuple[str, bool]]:
    """Applies the files that are not applied yet; returns each file's name, and whether this run applied it.

    Raises MigrationChanged before anything is done when an applied file was changed, WarehouseBusy while another
    session loads or applies, WarehouseRefused naming a file without a statement, or whose statement the server refuses.
    """
    with Connection(server, with_database=False) as connection, connection.hold_warehouse():
        files = _checked_files(connection, folder)
        for file in files:
            if file.state == "missing":
                _apply(connection, file)
    return [(file.name, file.state == "missing") for file in files]


def planned_migrations(server: Server, folder: Path) -> list[tuple[str, bool]]:
    """What `init_schema` would apply; changes nothing, and raises the same errors."""
    with Connection(server, with_database=False) as connection:
        return [(file.name, file.state == "missing") for file in _checked_files(connection, folder)]


def _checked_files(connection: Connection, folder: Path) -> list[Migration]:
    _refuse_others_database(connection)
    files = list_migrations(connection, folder)
    refuse_changed(files)
    _refuse_empty(files)
    return files


def _refuse_others_database(connection: Connection) -> None:
    """Raises WarehouseRefused for a system database of the server, or one with tables of something else."""
    name = connection.server.database
    if not MYSQL_NAME.fullmatch(name):
        raise WarehouseRefused(f"{name!r} is not a name for a database", "use letters, digits and _")
    if name.lower() in _OF_THE_SERVER:
        raise WarehouseRefused(f"{name} is the server's own database; no file was applied", _OWN_DATABASE)
    tables = connection.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name", (name,)
    )
    found = [text_of(table) for (table,) in tables]
    if found and not _OURS.intersection(found):
        raise WarehouseRefused(
            f"the database {name} holds other tables than the warehouse's, such as {found[0]}; no file was applied",
            _OWN_DATABASE,
        )


def list_migrations(connection: Connection, folder: Path) -> list[Migration]:
    """Every `NN_*.sql` of the folder except the sample queries, in order, with its state in the warehouse."""
    recorded = _recorded(connection)
    found = []
    for path in sorted(folder.glob("*.sql")):
        if _MIGRATION.fullmatch(path.name):
            text = _text_of(path)
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            before = recorded.get(path.name)
            state = "missing" if before is None else "applied" if before == sha256 else "changed"
            found.append(Migration(path.name, text, sha256, state))
    return found


def _text_of(path: Path) -> str:
    """The file's text with \\n at every line end. Raises WarehouseRefused naming a file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WarehouseRefused(
            f"{path.name} cannot be read: {reason}; no file was applied", "write it in UTF-8, readable"
        ) from error


def refuse_changed(files: Sequence[Migration]) -> None:
    """Raises MigrationChanged when one of the files was changed after it was applied."""
    if changed := [file.name for file in files if file.state == "changed"]:
        raise MigrationChanged(
            f"{', '.join(changed)} changed after being applied to the warehouse; no file was applied",
            "take the change back and put it into a new file with a higher number",
        )


def _refuse_empty(files: Sequence[Migration]) -> None:
    """Raises WarehouseRefused for an empty file: a failed `command > file` leaves one, and once applied it could not be
    changed.
    """
    if empty := [file.name for file in files if file.state == "missing" and not any(statements(file.text))]:
        raise WarehouseRefused(
            f"{', '.join(empty)} holds no statement; no file was applied", "write it again, or remove it from sql/"
        )


def statements(text: str, database: str = DEFAULT_DATABASE) -> Iterator[str]:
    """The statements of a file, without comments, for `database` where USE and CREATE DATABASE name the default one."""
    parts: list[str] = []
    for match in _PART.finditer(text + "\n;"):
        if match["end"]:
            statement = "".join(parts).strip()
            parts = []
            if statement:
                yield _NAMES_DATABASE.sub(lambda name: f"{name[1]} {quote(database)}", statement, count=1)
        else:
            parts.append(" " if match["comment"] else match[0])


def _recorded(connection: Connection) -> dict[str, str]:
    """The checksum of each applied file; empty in a warehouse without that record."""
    database = connection.server.database
    there = connection.rows(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 'etl_schema_files'",
        (database,),
    )
    if not there:
        return {}
    rows = connection.rows(f"SELECT file_name, sha256 FROM {quote(database)}.etl_schema_files")
    return {text_of(name): text_of(sha256) for name, sha256 in rows}


def _apply(connection: Connection, file: Migration) -> None:
    """Runs a file's statements and records it; a crash in between leaves it unrecorded."""
    name = connection.server.database
    try:
        if connection.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (name,)):
            connection.run(f"USE {quote(name)}")  # for files that do not say so themselves
        for statement in statements(file.text, name):
            connection.run(statement)
    except WarehouseRefused as error:
        raise WarehouseRefused(f"{file.name} cannot be applied: {error.message}", error.hint) from error
    record = f"INSERT INTO {quote(name)}.etl_schema_files (file_name, sha256) VALUES (%s, %s)"
    connection.run(record, (file.name, file.sha256))
    connection.run("COMMIT")
