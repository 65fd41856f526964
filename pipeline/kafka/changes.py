"""Finds the newest change of each key of a table, for any number of changes.

The records are stored in a temporary file; DuckDB has the key and the number of each, in memory up to a limit and in
the same folder beyond it, and finds the newest. A crash leaves the folder, which the next run that needs one removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.scratch import ScratchBatches, scratch_folder
from pipeline.scratch_database import MEMORY, database_errors, scratch_database

_AT_ONCE = 131_072  # keys that are given to DuckDB

RECORDS = pa.schema(
    [("partition", pa.int32()), ("offset", pa.int64()), ("key", pa.binary()), ("value", pa.binary())]
)  # fmt: skip

Numbers = Any  # a numpy array of integers


@dataclass(frozen=True)
class Numbered:
    """Records in the schema RECORDS, and their numbers, in ascending order."""

    numbers: Numbers
    records: pa.RecordBatch


class Changes(contextlib.AbstractContextManager["Changes"]):
    """Collects changes, those of a partition in the order of their offsets, and returns the newest ones.

    `memory` is DuckDB's limit. Raises ScratchUnusable when the temporary folder has no room.
    """

    def __init__(self, memory: str = MEMORY) -> None:
        self._count, self._waiting = 0, list[pa.Table]()
        with contextlib.ExitStack() as kept:
            self._folder: Path = kept.enter_context(scratch_folder())
            self._records = ScratchBatches(self._folder, RECORDS)
            self._database = kept.enter_context(scratch_database(self._folder, memory))
            # The mark is twice the number, plus one for a delete: the highest mark of a key is its newest change.
            self._run("CREATE TABLE changes (name BLOB, part INTEGER, mark BIGINT)")
            self._kept = kept.pop_all()

    def __exit__(self, *exc: object) -> None:
        self._kept.close()

    def add(self, names: pa.Array, records: pa.RecordBatch) -> None:
        """Adds records with the names of their rows: equal names in one partition mean the same row."""
        numbers = np.arange(self._count, self._count + len(records))
        self._count += len(records)
        deletes = records.column("value").is_null().to_numpy(zero_copy_only=False)
        columns = [names, records.column("partition"), pa.array(2 * numbers + deletes)]
        self._records.add(records)
        self._waiting.append(pa.table(columns, names=["name", "part", "mark"]))
        if sum(map(len, self._waiting)) >= _AT_ONCE:
            self._flush()

    def find_newest(self) -> None:
        """To be called once, after the last `add`."""
        self._flush()
        self._records.close()
        self._run(
            "CREATE TABLE newest AS SELECT min(part) AS part, max(part) AS last_part, max(mark) AS mark"
            " FROM changes GROUP BY name"
        )
        if self._one("SELECT count(*) FROM newest WHERE part <> last_part"):
            self._run("CREATE TABLE spread AS SELECT name FROM changes GROUP BY name HAVING min(part) <> max(part)")
            self._run(
                "CREATE TABLE by_part AS SELECT name, part, max(mark) AS mark FROM changes"
                " SEMI JOIN spread USING (name) GROUP BY name, part"
            )
            self._run("DELETE FROM newest WHERE part <> last_part")
            self._run("INSERT INTO newest SELECT part, part, mark FROM by_part")

    def doubled(self) -> pa.RecordBatch | None:
        """The newest records of one key that has rows in several partitions; None where there is no such key."""
        if self._one("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'by_part'"):
            rows = "SELECT list(mark) FROM by_part WHERE mark % 2 = 0 GROUP BY name HAVING count(*) > 1 LIMIT 1"
            marks = self._one(rows)
            if marks:
                return pa.Table.from_batches([found.records for found in self.get([m // 2 for m in marks])])
        return None

    def newest(self) -> Iterator[Numbered]:
        """The newest change of each key, without deletes."""
        yield from self._numbered("SELECT mark // 2 FROM newest WHERE mark % 2 = 0 ORDER BY mark")

    def newest_deletes(self) -> Iterator[Numbered]:
        yield from self._numbered("SELECT mark // 2 FROM newest WHERE mark % 2 = 1 ORDER BY mark")

    def before(self, numbers: Sequence[int]) -> Iterator[Numbered]:
        """All earlier changes of the same keys in the same partitions."""
        self._want(numbers)
        yield from self._numbered(
            "SELECT changes.mark // 2 FROM changes"
            " JOIN (SELECT * FROM changes SEMI JOIN wanted ON mark // 2 = number) AS later USING (name, part)"
            " WHERE changes.mark < later.mark ORDER BY changes.mark"
        )

    def get(self, numbers: Sequence[int]) -> Iterator[Numbered]:
        self._want(numbers)
        yield from self._numbered("SELECT number FROM wanted ORDER BY number")

    def _want(self, numbers: Sequence[int]) -> None:
        with self._seen_as("given", pa.table([pa.array(numbers, pa.int64())], names=["number"])):
            self._run("CREATE OR REPLACE TABLE wanted AS SELECT number FROM given")

    def _numbered(self, query: str) -> Iterator[Numbered]:
        """The records whose numbers `query` returns, in ascending order."""
        with self._errors():
            more = self._database.cursor().sql(query).to_arrow_reader(_AT_ONCE)
            start, due = 0, np.empty(0, np.int64)
            for records in self._records.read():
                end = start + len(records)
                while not len(due) or due[-1] < end:
                    batch = next(more, None)
                    if batch is None:
                        break
                    due = np.concatenate([due, batch.column(0).to_numpy()])
                cut = int(np.searchsorted(due, end))
                mine, due = due[:cut], due[cut:]
                if len(mine):
                    all_of_them = len(mine) == len(records)
                    yield Numbered(mine, records if all_of_them else records.take(pa.array(mine - start)))
                start = end

    def _flush(self) -> None:
        if self._waiting:
            with self._seen_as("waiting", pa.concat_tables(self._waiting)):
                self._run("INSERT INTO changes SELECT * FROM waiting")
            self._waiting = []

    def _run(self, statement: str) -> None:
        with self._errors():
            self._database.execute(statement).fetchall()

    def _one(self, query: str) -> Any:
        with self._errors():
            found = self._database.execute(query).fetchall()
        return found[0][0] if found else None

    @contextlib.contextmanager
    def _seen_as(self, name: str, table: pa.Table) -> Iterator[None]:
        self._database.register(name, table)
        try:
            yield
        finally:
            self._database.unregister(name)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return database_errors(self._folder)
