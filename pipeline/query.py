"""SQL over the committed rows of the lake's feeds, as they are or as they were; answered by DuckDB.

Nothing is changed: only one SELECT is taken, and only the feeds that it names are opened; one that cannot be opened
counts only where its name stands for a table. What DuckDB does not keep in memory is in a temporary folder, which is
removed at the end.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar

import duckdb
import pyarrow as pa

from pipeline.errors import PipelineError, QueryNotAnswered, QueryRefused
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.lake.time_travel import Shown, shown_as_of, shown_at_version, shown_now
from pipeline.lake.views import views_of
from pipeline.scratch import scratch_folder
from pipeline.scratch_database import scratch_database

_MEMORY = "2GB"
_BATCH_ROWS = 10_000
_WHOLE = 2**31 - 1
_LOOK_S = 0.1
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")
"""DuckDB's words (2.0) for a table that is not there."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class When:
    """What the views show: a `version` of tables, what was committed at a `moment`, or by default the present."""

    version: int | None = None
    moment: dt.datetime | None = None

    def shown(self, table: LakeTable, views: Collection[str]) -> Shown:
        """The files of the feed's views, for a question about some of these `views`.

        Raises LakeDamaged for a feed without data, VersionUnknown, WrongUsage.
        """
        _ = table.head
        if self.version is not None:
            return shown_at_version(table, self.version)
        return shown_now(table) if self.moment is None else shown_as_of(table, self.moment, views)


class Answer:
    """The rows that a query asks for; they are computed when they are read, once."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, run: _Run, views: str) -> None:
        self._relation, self._run, self._views = relation, run, views
        self.columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        """Names and DuckDB's types."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows. Raises QueryRefused, QueryNotAnswered."""
        with _duckdb_errors(self._views):
            batches = iter(self._run(lambda: self._relation.to_arrow_reader(_BATCH_ROWS)))
            while (batch := self._run(lambda: next(batches, None))) is not None:
                yield batch

    def table(self, width: int | None) -> str:
        """The rows as DuckDB shows them, cut to so many columns of a terminal; whole without a `width`.

        Raises QueryRefused, QueryNotAnswered.
        """
        shown = io.StringIO()
        with _duckdb_errors(self._views), contextlib.redirect_stdout(shown):
            columns = width or _WHOLE
            self._run(lambda: self._relation.show(max_width=columns, max_rows=_WHOLE, max_col_width=_WHOLE))
        return shown.getvalue().rstrip("\n")


@contextlib.contextmanager
def answering(lake: Lake, sql: str, when: When) -> Iterator[Answer]:
    """The answer of a SELECT over the views of `views.sql`, until the block ends.

    Times are shown in UTC. Raises QueryRefused and QueryNotAnswered, and for a feed that it reads what `When.shown`
    raises.
    """
    _refuse_other_bytes(sql)
    found = lake.feeds.list()
    views = ", ".join(view for feed in found.feeds for view in feed.view_names) or "there are none yet"
    with scratch_folder() as folder, scratch_database(folder, _MEMORY) as database:
        database.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
        database.execute("SET autoinstall_known_extensions = false")  # a query downloads nothing
        database.execute("SET python_enable_replacements = false")  # a table is none of this program's variables
        if (filesystem := lake.filesystem()) is not None:
            database.register_filesystem(filesystem)
        unopened = dict[str, PipelineError]()
        for lost in found.broken:
            unopened |= dict.fromkeys((lost.name, f"{lost.name}_current", f"{lost.name}_history"), lost.error)
        for feed in found.feeds:
            if asked := [view for view in feed.view_names if _names_one(sql, (view,))]:
                try:
                    _create_views(database, lake, feed, when, asked)
                except PipelineError as error:  # its name may stand for a column, or be a word of SQL
                    unopened |= dict.fromkeys(feed.view_names, error)
        with _duckdb_errors(views), _errors_of_feeds(unopened):
            relation = database.sql(_only_select(database, sql))
        with _interruptible(database) as run:
            yield Answer(relation, run, views)


class _Run(Protocol):
    def __call__(self, work: Callable[[], _T], /) -> _T: ...


@contextlib.contextmanager
def _interruptible(database: duckdb.DuckDBPyConnection) -> Iterator[_Run]:
    """Has DuckDB work in a thread of its own: a signal ends what it does, for which it would not look itself."""
    with ThreadPoolExecutor(1) as thread:

        def run(work: Callable[[], _T]) -> _T:
            working = thread.submit(work)
            try:
                return working.result()
            except BaseException:
                while not working.done():
                    database.interrupt()  # has no effect before the work begins
                    wait([working], _LOOK_S)
                raise

        yield run


def _names_one(sql: str, views: tuple[str, ...]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(view)}(?!\w)", sql, re.IGNORECASE) for view in views)


def _create_views(
    database: duckdb.DuckDBPyConnection, lake: Lake, feed: Feed, when: When, asked: Collection[str]
) -> None:
    table = lake.table(feed)
    for statement in views_of(table, when.shown(table, asked)):
        database.execute(statement)


def _refuse_other_bytes(sql: str) -> None:
    """Raises QueryRefused for a lone surrogate, into which Python turns a byte that is not UTF-8."""
    try:
        sql.encode()
    except UnicodeEncodeError:
        hint = "write the query in UTF-8, or the character as chr(NUMBER)"
        raise QueryRefused("the query holds a byte that is not UTF-8", hint) from None


@contextlib.contextmanager
def _errors_of_feeds(unopened: Mapping[str, PipelineError]) -> Iterator[None]:
    """Raises the error of a view that could not be opened, by its name, where the query takes it for a table."""
    try:
        yield
    except duckdb.CatalogException as error:
        missing = _NO_TABLE.search(str(error))
        if missing is not None and (reason := unopened.get(missing[1].lower())) is not None:
            raise reason from None
        raise


def _only_select(database: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one statement, if it reads only. Raises QueryRefused."""
    statements = database.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryRefused("a query is one SELECT: this command changes nothing", 'sql "SELECT 1" is one')
    return statements[0]


@contextlib.contextmanager
def _duckdb_errors(views: str) -> Iterator[None]:
    """Turns DuckDB's errors into QueryRefused, which names the `views`, or QueryNotAnswered."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise QueryNotAnswered(
            f"the query could not be answered: {_sentence(error)}",
            "python metadata_utils.py verify says whether files are missing; TMPDIR names a folder with more room",
        ) from None
    except duckdb.CatalogException as error:  # what it takes for a similar name is one of its own
        words = _sentence(error).partition("\n")[0]
        raise QueryRefused(f"DuckDB refuses the query: {words}", f"views: {views}") from None
    except duckdb.Error as error:
        hint = 'python metadata_utils.py sql "DESCRIBE NAME" lists the columns of a view'
        raise QueryRefused(f"DuckDB refuses the query: {_sentence(error)}", hint) from None


def _sentence(error: Exception) -> str:
    """DuckDB's words without the excerpt of the query below them."""
    return str(error).partition("\n\n")[0]
