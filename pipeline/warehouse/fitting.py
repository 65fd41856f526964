"""Checks a snapshot's rows against the columns of their MySQL tables.

A value that MySQL would cut, round or refuse makes its row a reject with the reason; no value is changed in silence.
Columns are checked as a whole where that proves that every value fits; else value by value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.exact_text import texts_of, to_json, values_of
from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.target import TargetColumn
from pipeline.warehouse.value_rules import RULES, Misfit


@dataclass(frozen=True)
class Reject:
    """A row that does not fit: its natural key and the whole row as JSON."""

    row_key: str
    column: str
    reason: str
    row_json: str


@dataclass(frozen=True)
class MappedColumn:
    """A column of a mapping: its name in the warehouse, the lake column that fills it, and its type in MySQL."""

    name: str
    source: str
    target: TargetColumn
    is_key: bool

    @property
    def takes_null(self) -> bool:
        return self.target.nullable and not self.is_key

    @property
    def cuts_spaces(self) -> bool:
        """Whether MySQL ignores spaces at the end, in storing a value or in comparing keys."""
        return self.is_key or self.target.data_type == "char"


def split_rejects(
    batch: pa.RecordBatch, columns: Sequence[MappedColumn], mapping: WarehouseMapping
) -> tuple[pa.RecordBatch, list[Reject]]:
    """The rows that fit all columns, and the others as rejects."""
    misfits: dict[int, tuple[str, str]] = {}
    for column in columns:
        array = batch.column(column.source)
        if column.target.is_text and not pa.types.is_binary(array.type):
            array = texts_of(array)
        if not _all_fit(array, column):
            for index, reason in _misfits(array, column):
                misfits.setdefault(index, (column.target.name, reason))
    if not misfits:
        return batch, []
    fits = np.ones(batch.num_rows, np.bool_)
    fits[list(misfits)] = False
    rejects = [as_reject(batch, index, mapping, *misfits[index]) for index in sorted(misfits)]
    return batch.filter(pa.array(fits)), rejects


def as_reject(batch: pa.RecordBatch, index: int, mapping: WarehouseMapping, column: str, reason: str) -> Reject:
    """One row of a batch as a reject."""
    whole = {name: values_of(batch.column(name).slice(index, 1))[0] for name in batch.schema.names}
    key = {name: whole.get(mapping.columns[name]) for name in mapping.keys}
    return Reject(to_json(key), column, reason, to_json(whole))


def texts_to_send(batch: pa.RecordBatch, columns: Sequence[MappedColumn]) -> list[pa.Array]:
    """The columns of rows that fit, as text that the server reads as the same values."""
    return [_text_to_send(batch.column(column.source), column.target) for column in columns]


def _text_to_send(array: pa.Array, target: TargetColumn) -> pa.Array:
    if target.data_type != "json" or pa.types.is_nested(array.type):
        return texts_of(array)
    return pa.array([None if value is None else to_json(value) for value in values_of(array)], pa.string())


def _misfits(array: pa.Array, column: MappedColumn) -> Iterator[tuple[int, str]]:
    for index, value in enumerate(values_of(array)):
        try:
            _check(value, column)
        except Misfit as misfit:
            yield index, str(misfit)


def _all_fit(array: pa.Array, column: MappedColumn) -> bool:
    """Whether it is certain that every value fits; False means that each value must be checked."""
    if array.null_count and not column.takes_null:
        return False
    if array.null_count == len(array):
        return True
    if column.cuts_spaces and pa.types.is_string(array.type) and pc.any(pc.ends_with(array, " ")).as_py():
        return False
    return RULES[column.target.data_type].all_fit(array, column.target)


def _check(value: Any, column: MappedColumn) -> None:
    """Raises Misfit when a value does not fit."""
    target = column.target
    if value is None:
        if not column.takes_null:
            raise Misfit("is NULL")
        return
    if column.cuts_spaces and isinstance(value, str) and value.endswith(" "):
        sees = "keep in a CHAR" if target.data_type == "char" else "see when it compares keys"
        raise Misfit(f"ends with a space, which MySQL does not {sees}")
    RULES[target.data_type].check(value, target)
