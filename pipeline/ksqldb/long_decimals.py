"""Decimals inside STRUCTs that a double cannot hold: selected a second time, by themselves, and put back in place.

Inside a STRUCT the server turns decimals into doubles; selected as `column->field` they keep their digits, also inside
lists and maps. Seen to be exact on 7.2, 7.6 and 8.3 for arrays, with NULLs too. By the server's source MAP_KEYS and
MAP_VALUES accept NULLs and have the same order; that is checked with each value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

from pipeline.columns import SqlType, has_long_decimal
from pipeline.decode.layout import Put
from pipeline.decode.reference import fields_of
from pipeline.errors import TypeNotSupported
from pipeline.ksqldb.describe import quote


def long_decimals(sql: str, type_: SqlType, depth: int) -> Iterator[tuple[tuple[str, ...], Put]]:
    """Each place inside STRUCTs with decimals that a double cannot hold: its SQL expressions, and how to put them back.

    A MAP is taken apart into its keys and values: a map's own TRANSFORM fails for one with a NULL value (7.6.13).
    """
    if type_.base == "STRUCT":
        for name, field in type_.fields:
            if not has_long_decimal(field):
                continue
            inner = f"{sql}->{quote(name)}"
            if not _holds(field, "STRUCT"):
                yield (inner,), _put_field(name, _exact)
            for deeper, put in long_decimals(inner, field, depth):
                yield deeper, _put_field(name, put)
    elif type_.base in ("ARRAY", "MAP"):
        assert type_.element
        items = sql if type_.base == "ARRAY" else f"MAP_VALUES({sql})"
        for deeper, put in long_decimals(f"x{depth}", type_.element, depth + 1):
            each = tuple(f"TRANSFORM({items}, x{depth} => {one})" for one in deeper)
            yield (each, _put_each(put)) if type_.base == "ARRAY" else ((f"MAP_KEYS({sql})", *each), _put_values(put))


def _holds(type_: SqlType, base: str) -> bool:
    inner = [type_.element] if type_.element else [field for _, field in type_.fields]
    return type_.base == base or any(_holds(part, base) for part in inner)


def _exact(value: Any, exact: Any) -> Any:
    if exact is None and value is not None:
        raise TypeNotSupported(
            "the server sent a long decimal inside a STRUCT as a double only: where its digits were asked for is NULL",
            "look into the server's log for the reason, or derive a stream that casts the decimal to STRING",
        )
    return exact


def _put_field(name: str, put: Put) -> Put:
    def into_struct(value: Any, *exact: Any) -> Any:
        if value is None:
            return None
        fields = fields_of(value)
        fields[name] = put(fields[name], *exact)
        return fields

    return into_struct


def _put_each(put: Put) -> Put:
    def into_list(value: list[Any] | None, *exact: list[Any] | None) -> Any:
        if value is None:
            return None
        return [put(*whole) for whole in zip(value, *_as_long_as(value, exact), strict=True)]

    return into_list


def _put_values(put: Put) -> Put:
    def into_map(value: Mapping[str, Any] | list[Any] | None, *exact: list[Any] | None) -> Any:
        if isinstance(value, list):
            raise TypeNotSupported(
                "long decimals inside a map whose keys are not STRING cannot be read exactly",
                "derive a stream that casts the keys to STRING",
            )
        if value is None:
            return None
        keys, *parts = _as_long_as(value, exact)
        if set(keys) != set(value):
            raise _other_parts()
        return {key: put(value[key], *part) for key, *part in zip(keys, *parts, strict=True)}

    return into_map


def _as_long_as(value: Sized, exact: Sequence[list[Any] | None]) -> list[list[Any]]:
    parts: list[list[Any]] = [_exact(value, part) for part in exact]
    if any(len(part) != len(value) for part in parts):
        raise _other_parts()
    return parts


def _other_parts() -> TypeNotSupported:
    return TypeNotSupported(
        "the server sent other items of a list or map where its long decimals were asked for",
        "run the same command again; if it stays, report it with the server's version",
    )
