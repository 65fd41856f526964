"""The lake's `views.sql`: views over the committed files of its feeds, for DuckDB.

It is derived from the logs after each commit and replaced in one step. Losing it loses nothing: the next run writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pipeline.columns import duckdb_name, duckdb_type
from pipeline.errors import PipelineError
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.files import DataFile
from pipeline.lake.store import Store, disk_errors
from pipeline.lake.table import VIEWS, LakeTable
from pipeline.lake.time_travel import Shown, shown_now

_HEADER = (
    "-- Views over the committed files of the lake at {}, for DuckDB: duckdb -init views.sql\n"
    "-- Rewritten whole after each commit; a bare glob over the folders may see more than is committed.\n\n"
)
_HEAD = 'CREATE OR REPLACE VIEW "'
_ENTRY = "-- of the log entry {}\n"
_FILES, _NEXT, _END = "read_parquet([\n  ", ",\n  ", "\n], filename = "


def write_views(
    store: Store,
    known: FeedStore,
    open_table: Callable[[Feed], LakeTable],
    tell: Callable[[str], None],
    changed: LakeTable | None = None,
) -> bytes:
    """Writes `views.sql` for all active feeds that have data; returns it.

    With `changed` only that feed's views are rewritten, and missing ones; all are where they name files of another
    place, since the lake was moved or copied. A feed that cannot be read keeps its views, with a warning to `tell`: it
    must not stop the runs of other feeds. What is kept, megabytes of an old lake, is copied once, into the new file.
    """
    head = _HEADER.format(store.uri()).encode()
    with disk_errors(store.uri()), store.short_lock(".views.lock"):
        there = store.read(VIEWS) if store.size(VIEWS) is not None else b""
        before, is_of_this_place = dict(_statements(there)), there.startswith(head)
        feeds, broken = known.list()
        statements = list[memoryview | bytes]()
        for lost in broken:
            statements += _old_views(before, (lost.name, f"{lost.name}_current", f"{lost.name}_history"))
            tell(f"{VIEWS} is not up to date for {lost.name}: {lost.error.message}")
        _tell_doubled(feeds, tell)
        for feed in feeds:
            is_other = changed is not None and feed.name != changed.feed.name
            if is_other and is_of_this_place and before.keys() >= set(feed.view_names):
                statements += _old_views(before, feed.view_names)
                continue
            try:
                with contained(feed.name):
                    if changed is not None and feed == changed.feed:
                        statements += _changed_views(changed, before if is_of_this_place else {})
                    elif (table := open_table(feed)).exists:
                        statements += _marked(table, views_of(table, shown_now(table)))
            except PipelineError as error:
                statements += _old_views(before, feed.view_names)
                tell(f"{VIEWS} is not up to date for one feed: {error.message}")
        text = b"\n".join([head[:-1], *statements])
        store.replace(VIEWS, text)
    return text


def _tell_doubled(feeds: Iterable[Feed], tell: Callable[[str], None]) -> None:
    views = Counter(view for feed in feeds for view in feed.view_names)
    for view in [view for view, count in views.items() if count > 1]:
        tell(f"{VIEWS} shows only one of two feeds as {view}: archive one, and add it under another name")


def _old_views(before: Mapping[str, memoryview], names: Iterable[str]) -> list[memoryview]:
    return [before[name] for name in names if name in before]


def _statements(text: bytes) -> Iterator[tuple[str, memoryview]]:
    """The name of each view in a `views.sql`, and its statement without the empty line after it."""
    whole, mark = memoryview(text), ("\n" + _HEAD).encode()
    end = text.find(mark)
    while end >= 0:
        start, end = end + 1, text.find(mark, end + 1)
        name = text[start + len(_HEAD) : text.index(b'"', start + len(_HEAD))]
        yield name.decode(), whole[start : end if end >= 0 else None]


def _changed_views(table: LakeTable, before: Mapping[str, memoryview]) -> list[bytes]:
    """The feed's statements now. A stream that has only grown keeps the names in its statement, if that says by its
    last line that it is of the entry since which the stream has grown: then the list of all files is not read.
    """
    stands = bytes(before.get(table.feed.name, b"")).decode()
    if table.feed.type != "stream" or not stands.endswith(_ENTRY.format(table.growth.since)):
        return _marked(table, views_of(table, shown_now(table)))
    named = stands.partition(_FILES)[2].partition(_END)[0].split(_NEXT)
    added = _named(table, table.growth.files)
    return _marked(table, [_view(table.feed.name, table, [*filter(None, named), *added])])


def _marked(table: LakeTable, statements: Iterable[str]) -> list[bytes]:
    return [(statement + _ENTRY.format(table.head.checksum)).encode() for statement in statements]


def views_of(table: LakeTable, shown: Shown) -> list[str]:
    """The statements that create the feed's views over these files."""
    return [_view(name, table, _named(table, files)) for name, files in zip(table.feed.view_names, shown, strict=True)]


def _named(table: LakeTable, files: Iterable[DataFile]) -> list[str]:
    return [_text(table.uri(file.path)) for file in files]


def _view(name: str, table: LakeTable, files: Sequence[str]) -> str:
    """A view over the files of these quoted names with exactly the table's columns and its partition column.

    Columns and types are listed, so that DuckDB opens no file before a query; a column that a file lacks is NULL. The
    partition is read from the file's path, so that DuckDB can skip files without opening them. DuckDB 1 does so only
    where the column with the path is called `filename` (1.5.5); by any other name a question about one day opened all
    files of a feed.
    """
    kind = "DATE" if table.partition_column == "date" else "INTEGER"
    partition = duckdb_name(table.partition_column)
    columns = [(field.name, duckdb_name(field.name), duckdb_type(field.type)) for field in table.schema]
    if not files:
        nulls = ", ".join(f"NULL::{type_} AS {name}" for _, name, type_ in columns)
        return f'{_HEAD}{name}" AS\nSELECT {nulls}, NULL::{kind} AS {partition}\nWHERE false;\n'
    names = ", ".join(name for _, name, _ in columns)
    place = "filename"
    while place in {field.name.lower() for field in table.schema} | {table.partition_column}:
        place += "_"
    value = f"TRY_CAST(split_part({place}, '/', -2)[{len(table.partition_column) + 2}:] AS {kind})"
    given = ",\n  ".join(
        f"{_text(name)}: {{name: {_text(name)}, type: {_text(type_)}, default_value: NULL}}"
        for name, _, type_ in columns
    )
    return (
        f'{_HEAD}{name}" AS\nSELECT {names}, {value} AS {partition}\nFROM '
        f"{_FILES}{_NEXT.join(sorted(files))}{_END}'{place}', schema = MAP {{\n  {given}\n}});\n"
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
