"""Pydantic's errors in words for a person who edits a file: which field, which rule, and the nearest right name.

Pydantic's own sentences speak of inputs and Python's types. Values are never repeated: they may be secrets.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

_RULES = {
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "too_short": "must not be empty",
    "finite_number": "must be a finite number",
}
_KINDS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "list": "must be a list",
    "dict": "must be an object",
    "model": "must be an object",
}


def rules_of(
    error: ValidationError, names: Mapping[str, Iterable[str]] | None = None, spelled: Callable[[str], str] = str
) -> str:
    """The broken rules, separated by semicolons. `names` are the known keys, by the path of their object."""
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(_rule(problem, names or {}, spelled) for problem in problems)


def _rule(problem: Mapping[str, Any], names: Mapping[str, Iterable[str]], spelled: Callable[[str], str]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    kind, context = str(problem["type"]), problem.get("ctx", {})
    if kind == "value_error":
        return (f"{spelled(path)}: " if path else "") + str(context.get("error", "cannot be used"))
    if kind == "extra_forbidden":
        above, _, key = path.rpartition(".")
        return f"{path} is not known{nearest(key, names.get(above, ()))}"
    rule = _RULES.get(kind, "").format(**context) or _KINDS.get(kind.split("_")[0], "cannot be used")
    return f"{spelled(path) or 'it'} {rule}"


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """`; did you mean X?`, or nothing where no known name is like it."""
    found = difflib.get_close_matches(name, list(known), 1, likeness)
    return f"; did you mean {found[0]}?" if found else ""
