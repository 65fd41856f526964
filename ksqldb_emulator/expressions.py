"""Types and evaluates the expressions and conditions of a statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ksqldb_emulator.sql import Refused, name_of
from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.values import encode, text_of

PSEUDO = {"ROWTIME": Type("BIGINT"), "ROWPARTITION": Type("INTEGER"), "ROWOFFSET": Type("BIGINT")}
WINDOW = {"WINDOWSTART": Type("BIGINT"), "WINDOWEND": Type("BIGINT")}

Row = Mapping[str, Any]
Evaluate = Callable[[Row], Any]
Scope = Mapping[str, Type]


@dataclass(frozen=True)
class Expression:
    """A typed expression; `column` is set when the expression is just a source column."""

    type: Type
    evaluate: Evaluate
    column: str | None = None


def names_in(tree: Any) -> set[str]:
    """Every name that an expression or condition refers to."""
    if tree is None:
        return set()
    return {name_of(node.children[0]) for node in tree.find_data("reference")}


def bind(tree: Any, scope: Scope) -> Expression:
    """Types an expression over the columns in scope. Raises KeyError with an unknown name."""
    parts = tree.children
    if tree.data == "reference":
        name = name_of(parts[0])
        return Expression(scope[name], lambda row: row.get(name), column=name)
    if tree.data == "field":
        base, name = bind(parts[0], scope), name_of(parts[1])
        return Expression(dict(base.type.fields)[name], _null_safe(base.evaluate, lambda value: value.get(name)))
    if tree.data == "struct":
        entries = [(name_of(entry.children[0]), bind(entry.children[1], scope)) for entry in parts]
        fields = tuple((name, inner.type) for name, inner in entries)
        return Expression(
            Type("STRUCT", fields=fields), lambda row: {name: inner.evaluate(row) for name, inner in entries}
        )
    if tree.data == "cast":
        base = bind(parts[0], scope)
        if name_of(parts[1]) not in ("STRING", "VARCHAR"):
            raise Refused("This emulator casts to STRING only")
        return Expression(Type("STRING"), _null_safe(base.evaluate, lambda value: _cast_text(value, base.type)))
    if tree.data == "unix_timestamp":
        return Expression(Type("BIGINT"), bind(parts[0], scope).evaluate)
    if tree.data == "unix_date":
        return Expression(Type("INTEGER"), bind(parts[0], scope).evaluate)
    if tree.data in ("map_keys", "map_values"):
        return _map_part(tree.data, bind(parts[0], scope))
    if tree.data == "transform":
        return _transform(bind(parts[0], scope), parts[1], scope)
    return _transform_map(bind(parts[0], scope), parts[1], parts[2], scope)


def _map_part(function: str, base: Expression) -> Expression:
    """The keys or the values of a map as an array, with NULLs; both functions accept only maps with STRING keys."""
    if base.type.base != "MAP" or base.type.key.base != "STRING":
        raise Refused(f"Function '{function}' does not accept parameters ({base.type}).")
    if function == "map_keys":
        return Expression(Type("ARRAY", element_type=base.type.key), _null_safe(base.evaluate, list))
    values = _null_safe(base.evaluate, lambda value: list(value.values()))
    return Expression(Type("ARRAY", element_type=base.type.element), values)


def _transform(base: Expression, function: Any, scope: Scope) -> Expression:
    name, body = name_of(function.children[0]), function.children[1]
    inner = bind(body, {**scope, name: base.type.element})

    def evaluate(row: Row) -> Any:
        items = base.evaluate(row)
        return None if items is None else [inner.evaluate({**row, name: item}) for item in items]

    return Expression(Type("ARRAY", element_type=inner.type), evaluate)


def _transform_map(base: Expression, key_function: Any, value_function: Any, scope: Scope) -> Expression:
    def bound(function: Any) -> tuple[str, str, Expression]:
        key, value = name_of(function.children[0]), name_of(function.children[1])
        inner = bind(function.children[2], {**scope, key: base.type.key, value: base.type.element})
        return key, value, inner

    k1, v1, keys = bound(key_function)
    k2, v2, values = bound(value_function)

    def evaluate(row: Row) -> Any:
        items = base.evaluate(row)
        if items is None:
            return None
        return {
            keys.evaluate({**row, k1: key, v1: value}): values.evaluate({**row, k2: key, v2: value})
            for key, value in items.items()
        }

    return Expression(Type("MAP", key_type=keys.type, element_type=values.type), evaluate)


def _null_safe(evaluate: Evaluate, then: Callable[[Any], Any]) -> Evaluate:
    def checked(row: Row) -> Any:
        value = evaluate(row)
        return None if value is None else then(value)

    return checked


def _cast_text(value: Any, type_: Type) -> str:
    if type_.base in ("DATE", "TIME", "TIMESTAMP"):
        return text_of(value, type_.base)
    return value if type_.base == "STRING" else encode(value, type_).strip('"')


def bind_condition(tree: Any, scope: Scope) -> Callable[[Row], bool]:
    """A WHERE clause as a predicate; a comparison with NULL is not true."""
    if tree is None:
        return lambda _: True
    if tree.data in ("any", "all"):
        parts = [bind_condition(part, scope) for part in tree.children]
        every = all if tree.data == "all" else any
        return lambda row: every(part(row) for part in parts)
    left, operator, right = tree.children
    return _compare(_operand(left, scope), _COMPARE[str(operator)], _operand(right, scope))


def _compare(left: Evaluate, compare: Callable[[Any, Any], bool], right: Evaluate) -> Callable[[Row], bool]:
    def holds(row: Row) -> bool:
        a, b = left(row), right(row)
        return a is not None and b is not None and compare(a, b)

    return holds


def _operand(tree: Any, scope: Scope) -> Evaluate:
    if tree.data == "number":
        number = int(tree.children[0])
        return lambda _: number
    if tree.data == "text":
        text = str(tree.children[0])[1:-1].replace("''", "'")
        return lambda _: text
    return bind(tree, scope).evaluate


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<>": lambda a, b: bool(a != b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
