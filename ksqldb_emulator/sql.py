"""The grammar of the statements that the emulator understands, and their parsed forms.

Anything else is refused with the server's own kind of error; nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lark

_GRAMMAR = r"""
?start: (select | show | describe) ";"
select: "SELECT"i items "FROM"i name [where] [emit] [limit]
items: item ("," item)*
item: "*" -> star
    | expression ["AS"i name] -> column
where: "WHERE"i condition
emit: "EMIT"i "CHANGES"i
limit: "LIMIT"i INT
show: ("SHOW"i | "LIST"i) name [extended]
describe: "DESCRIBE"i name [extended]
extended: "EXTENDED"i

?expression: primary
    | expression "->" name -> field
?primary: name -> reference
    | "STRUCT"i "(" entry ("," entry)* ")" -> struct
    | "CAST"i "(" expression "AS"i name ")" -> cast
    | "TRANSFORM"i "(" expression "," lambda1 ")" -> transform
    | "TRANSFORM"i "(" expression "," lambda2 "," lambda2 ")" -> transform_map
    | "MAP_KEYS"i "(" expression ")" -> map_keys
    | "MAP_VALUES"i "(" expression ")" -> map_values
    | "UNIX_TIMESTAMP"i "(" expression ")" -> unix_timestamp
    | "UNIX_DATE"i "(" expression ")" -> unix_date
entry: name ":=" expression
lambda1: name "=>" expression
lambda2: "(" name "," name ")" "=>" expression

?condition: conjunction ("OR"i conjunction)* -> any
?conjunction: comparison ("AND"i comparison)* -> all
?comparison: operand OPERATOR operand -> compare
    | "(" condition ")"
?operand: expression
    | SIGNED_INT -> number
    | TEXT -> text
OPERATOR: ">=" | "<=" | "<>" | "!=" | /=(?!>)/ | "<" | ">"
TEXT: /'(?:[^']|'')*'/
name: NAME | QUOTED
NAME: /[a-z_][a-z0-9_@]*/i
QUOTED: /`(?:[^`]|``)+`/ | /"[^"]+"/
%import common.INT
%import common.SIGNED_INT
%import common.WS
%ignore WS
%ignore /--[^\n]*/
"""


class Refused(Exception):
    """The server's answer to a statement that it refuses: an error code and its text."""

    def __init__(self, message: str, code: int = 40001, statement: str | None = "") -> None:
        super().__init__(message)
        self.message, self.code, self.statement = message, code, statement


@dataclass(frozen=True)
class Select:
    items: tuple[tuple[Any, str | None], ...]  # expression tree, alias; None for *
    source: str
    where: Any
    push: bool
    limit: int | None


@dataclass(frozen=True)
class Show:
    what: str
    extended: bool


@dataclass(frozen=True)
class Describe:
    name: str
    extended: bool


@dataclass(frozen=True)
class Other:
    """A statement of ksqlDB that the emulator does not support."""

    word: str


Statement = Select | Show | Describe | Other
_LARK = lark.Lark(_GRAMMAR, parser="lalr", maybe_placeholders=True)


def name_of(tree: Any) -> str:
    """Unquoted names are upper-cased; quoted ones are taken as they are."""
    text = str(tree.children[0])
    if text[0] == "`":
        return text[1:-1].replace("``", "`")
    return text[1:-1] if text[0] == '"' else text.upper()


def split(text: str) -> list[str]:
    """The statements of a request, each with its semicolon; quotes are respected."""
    parts, start, quote = [], 0, ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'`\"":
            quote = char
        elif char == ";":
            parts.append(text[start : at + 1].strip())
            start = at + 1
    rest = text[start:].strip()
    if rest:
        raise Refused(f"line 1:{len(text) + 1}: Syntax Error\nmissing ';' at '<EOF>'", statement=text.strip())
    return parts


def parse(text: str) -> Statement:
    """One statement. Raises Refused for what the grammar does not know."""
    word = text.split(None, 1)[0].rstrip(";").upper() if text.strip(" ;") else ""
    if word not in _WORDS:
        known = "\nDid you mean 'SELECT'?" if word.startswith("SELEC") else ""
        raise Refused(f"line 1:1: Syntax Error\nUnknown statement '{word}'{known}\nStatement: {text}", statement=text)
    if word not in ("SELECT", "SHOW", "LIST", "DESCRIBE"):
        return Other(word)
    try:
        tree = _LARK.parse(text)
    except lark.exceptions.LarkError:
        raise Refused(
            f"line 1:1: Syntax Error\nThis emulator does not know the statement\nStatement: {text}", statement=text
        ) from None
    if tree.data == "select":
        return _select(tree)
    name, extended = name_of(tree.children[0]), tree.children[1] is not None
    return Show(name, extended) if tree.data == "show" else Describe(name, extended)


_WORDS = {"SELECT", "SHOW", "LIST", "DESCRIBE", "EXPLAIN", "CREATE", "DROP", "INSERT", "TERMINATE", "PRINT"}


def _select(tree: Any) -> Select:
    listed, source, where, emit, limit = tree.children
    items = tuple(
        (None, None)
        if item.data == "star"
        else (item.children[0], name_of(item.children[1]) if item.children[1] is not None else None)
        for item in listed.children
    )
    condition = where.children[0] if where is not None else None
    return Select(items, name_of(source), condition, emit is not None, int(limit.children[0]) if limit else None)
