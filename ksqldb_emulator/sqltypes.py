"""ksqlDB's types as the emulator needs them: their text, their form in DESCRIBE, and a parser of the text.

Written independently of the pipeline's types, so that a mistake in one does not hide in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lark

_GRAMMAR = r"""
?type: "DECIMAL" "(" INT "," INT ")" -> decimal
     | "ARRAY" "<" type ">" -> array
     | "MAP" "<" type "," type ">" -> map
     | "STRUCT" "<" [field ("," field)*] ">" -> struct
     | WORD -> scalar
field: NAME type
NAME: /`[^`]*`/ | /[A-Z_][A-Z0-9_]*/
WORD: /[A-Z]+/
%import common.INT
%ignore " "
"""


@dataclass(frozen=True)
class Type:
    base: str
    precision: int = 0
    scale: int = 0
    key_type: Type | None = None
    element_type: Type | None = None
    fields: tuple[tuple[str, Type], ...] = ()

    @property
    def element(self) -> Type:
        assert self.element_type is not None
        return self.element_type

    @property
    def key(self) -> Type:
        assert self.key_type is not None
        return self.key_type

    def __str__(self) -> str:
        if self.base == "DECIMAL":
            return f"DECIMAL({self.precision}, {self.scale})"
        if self.base == "ARRAY":
            return f"ARRAY<{self.element}>"
        if self.base == "MAP":
            return f"MAP<{self.key}, {self.element}>"
        if self.base == "STRUCT":
            return f"STRUCT<{', '.join(f'`{name}` {type_}' for name, type_ in self.fields) or ' '}>"
        return self.base

    def described(self) -> dict[str, Any]:
        """The type as `fields[].schema` of DESCRIBE shows it."""
        described: dict[str, Any] = {"type": self.base, "fields": None, "memberSchema": None}
        if self.base == "STRUCT":
            described["fields"] = [{"name": name, "schema": type_.described()} for name, type_ in self.fields]
        if self.element_type is not None:
            described["memberSchema"] = self.element_type.described()
        if self.base == "DECIMAL":
            described["parameters"] = {"precision": self.precision, "scale": self.scale}
        return described


class _ToType(lark.Transformer[Any, Type]):
    def scalar(self, parts: list[Any]) -> Type:
        return Type({"INT": "INTEGER", "VARCHAR": "STRING"}.get(str(parts[0]), str(parts[0])))

    def decimal(self, parts: list[Any]) -> Type:
        return Type("DECIMAL", precision=int(parts[0]), scale=int(parts[1]))

    def array(self, parts: list[Any]) -> Type:
        return Type("ARRAY", element_type=parts[0])

    def map(self, parts: list[Any]) -> Type:
        return Type("MAP", key_type=parts[0], element_type=parts[1])

    def struct(self, parts: list[Any]) -> Type:
        return Type("STRUCT", fields=tuple(part for part in parts if part is not None))

    def field(self, parts: list[Any]) -> tuple[str, Type]:
        return str(parts[0]).strip("`"), parts[1]


_PARSER = lark.Lark(_GRAMMAR, start="type", parser="earley")
_CACHE: dict[str, Type] = {}


def parse_type(text: str) -> Type:
    if text not in _CACHE:
        _CACHE[text] = _ToType().transform(_PARSER.parse(text))
    return _CACHE[text]
