"""No module holds two nouns, and no function two stories."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support import ROOT, SCRIPTS
from tests.test_layout import nodes_of

ROOMS = ("commands", "pipeline", "ksqldb_emulator", "benchmarks", "demo", "docsite", "samples")


def measured(*rooms: str) -> list[Path]:
    """The scripts, and the files of these folders."""
    return sorted([*ROOT.glob("*.py"), *(path for room in rooms for path in (ROOT / room).rglob("*.py"))])


def long_functions(nodes: Iterable[ast.AST], lines: list[str]) -> list[str]:
    """Those above 40 lines, decorators aside, that give no reason: above them, or in their first line or next to it."""
    found = []
    for node in nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        above = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
        start = lines[max(above - 1, 0) : node.lineno + 1]
        if (node.end_lineno or 0) - node.lineno >= 40 and not any("# long: " in line for line in start):
            found.append(node.name)
    return found


def test_no_module_is_over_300_lines() -> None:
    paths = measured(*ROOMS, "tests")
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}

    assert not {path for path, length in lengths.items() if length > 300}


def test_no_function_is_over_40_lines_without_a_reason() -> None:
    paths = measured(*ROOMS)
    found = {
        str(path.relative_to(ROOT)): long_functions(nodes_of(path), path.read_text(encoding="utf-8").splitlines())
        for path in paths
    }

    assert not {name: functions for name, functions in found.items() if functions}


@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - {"data_lake_config"}))
def test_a_script_is_below_150_lines(name: str) -> None:
    """It parses, builds, calls and says; what it does is in the room that it is about."""
    assert len(SCRIPTS[name].read_text(encoding="utf-8").splitlines()) < 150


def test_a_long_function_needs_its_reason_where_it_begins() -> None:
    def found(*lines: str) -> list[str]:
        return long_functions(ast.walk(ast.parse("\n".join(lines))), list(lines))

    long = ["def f():", *["    x = 1"] * 40]

    assert found(*long) == ["f"]
    assert found("async " + long[0], *long[1:]) == ["f"]
    assert found("# long: a table", "@cache", *long) == []
    assert found("@cache", "# long: a table", *long) == []
    assert found(long[0] + "  # long: a table", *long[1:]) == []
    assert found(long[0], "    # long: a table", *long[1:]) == []
    assert found(*long[:2], "    # long: too late", *long[2:]) == ["f"]
    assert found("# long: of another", "", *long) == ["f"]
    assert found(*long[:-1]) == []
