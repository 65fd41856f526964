"""Generated ksqlDB types and values: every type, nested three deep, values that have broken other software.

Drawn by hypothesis from a seed, so a run can be repeated; only types that the server can send exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ksqldb_emulator.sqltypes import Type

DAY_MS = 86_400_000
_FARTHEST_MS = (2**63 - 1) // 1000  # the lake's instants are 64 bits of microseconds
_NOW_MS = 1_790_000_000_000
_PLAIN = ("BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "STRING", "BYTES", "DATE", "TIME", "TIMESTAMP")
_FIELDS = ("A", "B_2", "lower", "Two Words", "größe", "dot.ted", 'quo"ted', "it's", "C", "D")
_DOUBLE_DIGITS = 15
_SETTINGS = settings(
    max_examples=10, database=None, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
_WIDE = Context(prec=76)
_NAN = math.nan  # one object, so that a map cannot have it as a key twice

_T = TypeVar("_T")

_TEXTS = ("", " ", "a ", "a", "\0", "\\N", "\\", "\t\n\r\\t", "'\"`%s", "NULL", "NaN", "é", "e\u0301", "😀", "\u2028",
          "\ufeff", "\x1a\x7f\u0085", "\uffff", "{}", "\U0010ffff")  # fmt: skip
_DOUBLES = (0.0, -0.0, 5e-324, -5e-324, 2.2250738585072009e-308, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1,
            1e7, 1e16, 1e23, 9007199254740993.0, 123456789012345680.0, 1e-3, 9.999999999999999e-4, _NAN, math.inf,
            -math.inf)  # fmt: skip
_DAYS = (0, -1, 11_016, -141_428, -141_427, -354_285, -719_162, -719_163, -719_529, 2_932_896, 2_932_897)
_TIMES = (0, 1, 999, 1000, 59_999, 60_000, 36_930_123, DAY_MS - 1)


def draw(strategy: st.SearchStrategy[_T], count: int, number: int) -> list[_T]:
    """`count` examples, the same ones for the same `number`.

    A few from each run of hypothesis: the first one is the simplest there is, and after ten it varies old ones.
    """
    found: list[_T] = []
    runs = itertools.count()
    while len(found) < count:
        found += _run(strategy, f"{number} {next(runs)}")[1:]
    return found[:count]


def _run(strategy: st.SearchStrategy[_T], number: str) -> list[_T]:
    seen: list[_T] = []

    @seed(number)
    @_SETTINGS
    @given(strategy)
    def keep(example: _T) -> None:
        seen.append(example)

    keep()
    return seen


def schemas() -> st.SearchStrategy[tuple[Type, ...]]:
    """Every scalar type once, three decimals, and six nested types, times in a STRUCT always among them."""
    plain = st.tuples(*[st.just(Type(base)) for base in _PLAIN], *[decimals()] * 3)
    deep = st.tuples(times_in_struct(), *[nested(depth).filter(is_exact) for depth in (1, 2, 2, 3, 3)])
    return st.builds(lambda first, then: first + then, plain, deep)


def decimals() -> st.SearchStrategy[Type]:
    sizes = st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p)))
    return sizes.map(lambda size: Type("DECIMAL", precision=size[0], scale=size[1]))


def scalars() -> st.SearchStrategy[Type]:
    return st.sampled_from(_PLAIN).map(Type) | decimals()


def nested(depth: int) -> st.SearchStrategy[Type]:
    """ARRAY, MAP or STRUCT, at most `depth` of them inside each other."""
    inner = scalars() if depth == 1 else scalars() | nested(depth - 1) | nested(depth - 1)
    keys = st.just(Type("STRING")) | st.sampled_from(("BOOLEAN", "INTEGER", "BIGINT", "DOUBLE")).map(Type) | decimals()
    names = st.lists(st.sampled_from(_FIELDS), min_size=1, max_size=4, unique=True)
    fields = names.flatmap(lambda found: st.tuples(*[st.tuples(st.just(name), inner) for name in found]))
    return st.one_of(
        inner.map(lambda element: Type("ARRAY", element_type=element)),
        st.builds(_map, keys, inner),
        fields.map(lambda found: Type("STRUCT", fields=tuple(found))),
    )


def times_in_struct() -> st.SearchStrategy[Type]:
    """What is converted deepest in a value: times and a long decimal in a STRUCT, which may be in an ARRAY or a MAP."""
    bases = ("TIMESTAMP", "DATE", "TIME")
    fields = (*((base, Type(base)) for base in bases), ("LONG", Type("DECIMAL", precision=30, scale=10)))
    bare = Type("STRUCT", fields=fields)
    return st.sampled_from((bare, Type("ARRAY", element_type=bare), _map(Type("STRING"), bare)))


def is_exact(type_: Type) -> bool:
    """Whether the server can send such values without loss, as docs and README have it.

    Inside a STRUCT, and where there are times in arrays or maps, it makes doubles of a map's DECIMAL keys; and it takes
    apart no map whose keys are no STRING, so that long decimals of STRUCTs in it cannot be put back.
    """
    return _is_exact(type_, _leaf_is_time(type_))


def _is_exact(type_: Type, as_doubles: bool) -> bool:
    if type_.base == "ARRAY":
        return _is_exact(type_.element, as_doubles)
    if type_.base == "STRUCT":
        return all(_is_exact(field, True) for _, field in type_.fields)
    if type_.base != "MAP":
        return True
    if as_doubles and type_.key.base == "DECIMAL" and type_.key.precision > _DOUBLE_DIGITS:
        return False
    if type_.key.base != "STRING" and _struct_with_long_decimal(type_.element):
        return False
    return _is_exact(type_.element, as_doubles)


def _leaf_is_time(type_: Type) -> bool:
    return _leaf_is_time(type_.element) if type_.base in ("ARRAY", "MAP") else type_.base in ("TIME", "TIMESTAMP")


def _struct_with_long_decimal(type_: Type, inside: bool = False) -> bool:
    if type_.base == "STRUCT":
        return any(_struct_with_long_decimal(field, True) for _, field in type_.fields)
    if type_.base in ("ARRAY", "MAP"):
        return _struct_with_long_decimal(type_.element, inside)
    return inside and type_.base == "DECIMAL" and type_.precision > _DOUBLE_DIGITS


def inexact() -> st.SearchStrategy[Type]:
    """Types that are not exact: to be refused as soon as a value could be wrong."""
    long = decimals().filter(lambda type_: type_.precision > _DOUBLE_DIGITS)
    keyed = st.builds(_map, long, scalars())
    times = st.builds(_map, long, st.sampled_from(("TIME", "TIMESTAMP")).map(Type))
    whole = st.sampled_from(("BOOLEAN", "INTEGER", "BIGINT")).map(Type)
    deep = st.builds(_map, whole, st.builds(_struct, long))
    found = st.builds(_struct, keyed | deep) | times
    return found | found.map(lambda element: Type("ARRAY", element_type=element))


def _map(key: Type, element: Type) -> Type:
    return Type("MAP", key_type=key, element_type=element)


def _struct(field: Type) -> Type:
    return Type("STRUCT", fields=(("A", field),))


def rows(types: tuple[Type, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*[or_null(values(type_)) for type_ in types])


def or_null(found: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 7).flatmap(lambda die: st.none() if die == 7 else found)


def values(type_: Type) -> st.SearchStrategy[Any]:
    """Values of a type, as `ksqldb_emulator.dataset` holds them; elements may be NULL, keys not."""
    if type_.base == "DECIMAL":
        largest = 10**type_.precision - 1
        digits = st.integers(-largest, largest) | st.sampled_from((0, 1, -1, largest, -largest, 10**type_.scale // 10))
        return digits.map(lambda number: Decimal(number).scaleb(-type_.scale, _WIDE))
    if type_.base == "ARRAY":
        items = or_null(values(type_.element))
        return st.lists(items, max_size=3) | st.lists(items, min_size=1, max_size=4)
    if type_.base == "MAP":
        keys, items = values(type_.key), or_null(values(type_.element))
        return st.dictionaries(keys, items, max_size=2) | st.dictionaries(keys, items, min_size=1, max_size=3)
    if type_.base == "STRUCT":
        return st.fixed_dictionaries({name: or_null(values(field)) for name, field in type_.fields})
    return _SCALARS[type_.base]()


_SCALARS: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "BOOLEAN": st.booleans,
    "INTEGER": lambda: st.integers(-(2**31), 2**31 - 1) | st.sampled_from((0, -1, -(2**31), 2**31 - 1)),
    "BIGINT": lambda: st.integers(-(2**63), 2**63 - 1) | st.sampled_from((2**53 + 1, -(2**63), 2**63 - 1)),
    "DOUBLE": lambda: st.floats().map(lambda x: _NAN if math.isnan(x) else x) | st.sampled_from(_DOUBLES),
    "STRING": lambda: (
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
        | st.sampled_from(_TEXTS)
        | st.sampled_from(_TEXTS).map(lambda text: f"{text}x" * 700)
    ),
    "BYTES": lambda: st.binary(max_size=20) | st.sampled_from((b"", b"\0", bytes(range(256)))),
    "DATE": lambda: st.integers(-40_000, 60_000) | st.sampled_from(_DAYS) | st.integers(-(2**31) + 2, 2**31 - 2),
    "TIME": lambda: st.integers(0, DAY_MS - 1) | st.sampled_from(_TIMES),
    "TIMESTAMP": lambda: (
        st.integers(_NOW_MS - 10**12, _NOW_MS + 10**12)
        | st.sampled_from([day * DAY_MS + ms for day in _DAYS for ms in (-1, 0, 1)])
        | st.integers(-_FARTHEST_MS, _FARTHEST_MS)
    ),
}  # fmt: skip
