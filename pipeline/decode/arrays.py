"""Turns decoded values, column by column, into the lake's Arrow arrays; the types are those of `pipeline.columns`.

Values come as ksqlDB has them in memory: DECIMAL as Decimal, DATE as days since 1970, TIME as milliseconds of the day,
TIMESTAMP as milliseconds since 1970, ARRAY as a list, MAP as a dict or pairs, STRUCT as an object that `columns`
takes apart. Nested values are split into columns too, so no intermediate Python values are made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import SqlType, arrow_type

Values = Sequence[Any]
Prepare = Callable[[Values, SqlType], Values | pa.Array]
Columns = Callable[[Values, int], Sequence[Values]]
DAY_MS = 86_400_000


class NotHeld(ValueError):
    """A value of a column does not fit the lake's type."""


def columns_of(rows: Values, count: int) -> Sequence[Values]:
    """The values of each of so many columns of rows that are sequences."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


@dataclass(frozen=True)
class Arrays:
    """Makes arrays of a format's values. `columns` takes STRUCTs apart, those that are not NULL. `prepare` converts the
    format's own values of a type to those named above, or to an array of them. `of_fields` makes the arrays of STRUCTs'
    fields; None if they are made in the same way.
    """

    columns: Columns = columns_of
    prepare: Mapping[str, Prepare] = field(default_factory=dict)
    of_fields: Arrays | None = None

    def array(self, values: Values, type_: SqlType) -> pa.Array:
        """One array of `arrow_type(type_)`. Raises NotHeld."""
        try:
            return self._array(values, type_)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError) as error:
            raise NotHeld(f"a value that the lake's {type_} cannot hold") from error

    def _array(self, values: Values, type_: SqlType) -> pa.Array:
        if type_.base in self.prepare:
            values = self.prepare[type_.base](values, type_)
        if isinstance(values, pa.Array):
            return values
        if type_.base == "ARRAY":
            return self._lists(values, type_)
        if type_.base == "MAP":
            return self._maps(values, type_)
        if type_.base == "STRUCT":
            return self._structs(values, type_)
        return plain(values, type_)

    def _lists(self, values: Values, type_: SqlType) -> pa.Array:
        assert type_.element
        inner = itertools.chain.from_iterable(filter(None, values))
        elements = self._array(list(inner), type_.element)
        return pa.ListArray.from_arrays(_offsets(values), elements, type=arrow_type(type_), mask=_nulls(values))

    def _maps(self, values: Values, type_: SqlType) -> pa.Array:
        assert type_.key and type_.element
        keys: list[Any] = []
        items: list[Any] = []
        for value in values:
            if isinstance(value, dict):
                keys += value
                items += value.values()
            elif value:
                keys += [key for key, _ in value]
                items += [item for _, item in value]
        pairs = self._array(keys, type_.key), self._array(items, type_.element)
        return pa.MapArray.from_arrays(_offsets(values), *pairs, type=arrow_type(type_), mask=_nulls(values))

    def _structs(self, values: Values, type_: SqlType) -> pa.Array:
        nulls, present = _nulls(values), values
        if nulls is not None:
            present = [value for value in values if value is not None]
        fields, columns = self.of_fields or self, self.columns(present, len(type_.fields))
        children = [fields._array(column, inner) for column, (_, inner) in zip(columns, type_.fields, strict=True)]
        kind = arrow_type(type_)
        if nulls is None:
            return pa.StructArray.from_arrays(children, fields=list(kind))
        places = np.cumsum(~nulls.to_numpy(zero_copy_only=False)) - 1
        taken = pa.array(np.where(nulls, 0, places), mask=np.asarray(nulls))
        return pa.StructArray.from_arrays([child.take(taken) for child in children], fields=list(kind), mask=nulls)


def plain(values: Values, type_: SqlType) -> pa.Array:
    """Values of a type that is not nested, in the form named above. Raises ArrowException, OverflowError, TypeError or
    NotHeld."""
    of_numbers = _OF_NUMBERS.get(type_.base)
    return of_numbers(values) if of_numbers else pa.array(values, type=arrow_type(type_))


def _offsets(values: Values) -> pa.Array:
    lengths = np.fromiter(map(len, (value or () for value in values) if None in values else values), np.int64)
    ends = np.cumsum(lengths)
    if len(ends) and ends[-1] >= 2**31:
        raise NotHeld("more elements in one batch than Arrow counts")
    return pa.array(np.concatenate([[0], ends]).astype(np.int32))


def _nulls(values: Values) -> pa.Array | None:
    if None not in values:
        return None
    return pa.array(np.fromiter((value is None for value in values), np.bool_, len(values)))


def _dates(days: Values) -> pa.Array:
    return pa.array(days, pa.int32()).cast(pa.date32())


def _times(milliseconds: Values) -> pa.Array:
    times = pa.array(milliseconds, pa.int32())
    least, most = pc.min_max(times).as_py().values()
    if least is not None and not 0 <= least <= most < DAY_MS:
        raise NotHeld("a number that is no time of day")
    return times.cast(pa.time32("ms")).cast(pa.string())


def _timestamps(milliseconds: Values) -> pa.Array:
    return pa.array(milliseconds, pa.timestamp("ms", tz="UTC")).cast(arrow_type(SqlType("TIMESTAMP")))


_OF_NUMBERS: Mapping[str, Callable[[Values], pa.Array]] = {
    "DATE": _dates,
    "TIME": _times,
    "TIMESTAMP": _timestamps,
}
"""The types whose numbers the lake does not store as they are; a TIME is stored as text, HH:MM:SS.mmm."""
