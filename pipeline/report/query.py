"""The rows of a query as CSV and as JSON, written while they are read: values are exact.

Where nobody reads stdout any more, no more rows are computed.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from pipeline.errors import QueryRefused
from pipeline.exact_text import to_json, values_of
from pipeline.process import nobody_reads
from pipeline.query import Answer


def write_csv(answer: Answer, file: IO[str]) -> None:
    """A head with the columns' names, then a line a row; NULL is an empty field, nested values are JSON."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name for name, _ in answer.columns])
    writer.writerows([_field(value) for value in row] for row in _rows(answer))


def _field(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    text = to_json(value)
    return json.loads(text) if text.startswith('"') else text


def write_json(answer: Answer, file: IO[str]) -> None:
    """One object: `columns` with names and types, and `rows`, an object a line; NULL is null.

    Raises QueryRefused for two columns of one name.
    """
    if doubled := [name for name, count in Counter(name for name, _ in answer.columns).items() if count > 1]:
        raise QueryRefused(f"two columns of the answer are called {doubled[0]!r}", "give one another name: AS ...")
    names = [json.dumps(name, ensure_ascii=False) for name, _ in answer.columns]
    head = json.dumps([{"name": name, "type": kind} for name, kind in answer.columns], ensure_ascii=False)
    file.write(f'{{\n  "schema_version": 1,\n  "columns": {head},\n  "rows": [')
    between = "\n    "
    for row in _rows(answer):
        pairs = (f"{name}: {to_json(value)}" for name, value in zip(names, row, strict=True))
        file.write(f"{between}{{{', '.join(pairs)}}}")
        between = ",\n    "
    file.write("\n  ]\n}\n")


def _rows(answer: Answer) -> Iterator[tuple[Any, ...]]:
    for batch in answer.batches():
        if nobody_reads():
            return
        yield from zip(*(values_of(column) for column in batch.columns), strict=True)
