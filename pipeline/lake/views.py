"""The lake's `views.sql`: views over the committed files of its feeds, for DuckDB.

It is derived from the logs after each commit and replaced whole. Losing it loses nothing: the next run writes it again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.columns import duckdb_name, duckdb_type
from pipeline.errors import PipelineError
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.files import DataFile
from pipeline.lake.store import Store, disk_errors
from pipeline.lake.table import VIEWS, LakeTable


def write_views(
    store: Store, known: FeedStore, open_table: Callable[[Feed], LakeTable], tell: Callable[[str], None]
) -> str:
    """Writes `views.sql` for all active feeds that have data; returns its text.

    A feed that cannot be read keeps the views that it had, and `tell` hears why: it must not stop the others' runs.
    """
    with disk_errors(store.uri()), store.short_lock(".views.lock"):
        before = store.read(VIEWS).decode() if store.size(VIEWS) is not None else ""
        feeds, broken = known.list()
        statements = list[str]()
        for lost in broken:
            statements += _old_views(before, (lost.name, f"{lost.name}_current", f"{lost.name}_history"))
            tell(f"{VIEWS} is not up to date for {lost.name}: {lost.error.message}")
        views = Counter(view for feed in feeds for view in feed.view_names)
        for view in [view for view, count in views.items() if count > 1]:
            tell(f"{VIEWS} shows only one of two feeds as {view}: archive one, and add it under another name")
        for feed in feeds:
            try:
                with contained(feed.name):
                    table = open_table(feed)
                    statements += _views(table) if table.exists else ()
            except PipelineError as error:
                statements += _old_views(before, feed.view_names)
                tell(f"{VIEWS} is not up to date for one feed: {error.message}")
        head = (
            "-- Views over the committed files of this lake, for DuckDB: duckdb -init views.sql\n"
            "-- Rewritten whole after each commit; a bare glob over the folders may see more than is committed.\n\n"
        )
        text = head + "\n".join(statements)
        store.replace(VIEWS, text.encode())
    return text


def _old_views(before: str, names: Iterable[str]) -> list[str]:
    old = _statements(before)
    return [old[name] for name in names if name in old]


def _statements(text: str) -> dict[str, str]:
    """The statements of a `views.sql`, by the name of their view."""
    found = re.split('^(?=CREATE OR REPLACE VIEW ")', text, flags=re.MULTILINE)[1:]
    return {statement.split('"')[1]: statement.rstrip("\n") + "\n" for statement in found}


def _views(table: LakeTable) -> list[str]:
    shown = [table.files]
    if table.feed.type == "table":
        shown.insert(0, tuple(table.versions().get(table.current_version or 0, ())))
    return [_view(name, table, files) for name, files in zip(table.feed.view_names, shown, strict=True)]


def _view(name: str, table: LakeTable, files: Sequence[DataFile]) -> str:
    """The table's columns and its partition column, no less and no more, of those files."""
    kind = "DATE" if table.partition_column == "date" else "INTEGER"
    columns = [(duckdb_name(field.name), duckdb_type(field.type)) for field in table.schema]
    columns.append((duckdb_name(table.partition_column), kind))
    nulls = ", ".join(f"NULL::{type_} AS {column}" for column, type_ in columns)
    head, empty = f'CREATE OR REPLACE VIEW "{name}" AS\n', f"SELECT {nulls}\nWHERE false"
    if not files:
        return f"{head}{empty};\n"
    # Files from before a column was new do not have it: the empty rows do.
    rows = "\nUNION ALL BY NAME\n".join([empty, *_reads(table, files, kind)])
    return f"{head}SELECT {', '.join(column for column, _ in columns)}\nFROM (\n{rows}\n);\n"


def _reads(table: LakeTable, files: Sequence[DataFile], kind: str) -> Iterator[str]:
    """DuckDB takes each `name=value` of a path for a column: below such a folder partitions are read one by one."""
    column = table.partition_column
    if "=" not in table.uri():
        options = f"hive_partitioning = true, hive_types = {{'{column}': {kind}}}"
        yield f"SELECT *\nFROM {_read_parquet(table, files, options)}"
        return
    for partition in dict.fromkeys(file.partition for file in files):
        members = [file for file in files if file.partition == partition]
        value = "NULL" if partition is None else _text(partition)
        read = _read_parquet(table, members, "hive_partitioning = false")
        yield f"SELECT *, {value}::{kind} AS {duckdb_name(column)}\nFROM {read}"


def _read_parquet(table: LakeTable, files: Sequence[DataFile], options: str) -> str:
    paths = ",\n  ".join(_text(table.uri(path)) for path in sorted(file.path for file in files))
    return f"read_parquet([\n  {paths}\n], {options}, union_by_name = true)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
