"""The map of docs/architecture.md against the code: order of the rooms, and who may touch what, through others too."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from pathlib import Path

import pytest

from pipeline.cycles import without_collections
from tests.module_order import ORDER
from tests.support import ROOT, SCRIPTS

NAME = re.compile(r"`([^`]+)`")


@functools.cache
def modules() -> dict[str, Path]:
    paths = (path for path in (ROOT / "pipeline").rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    with without_collections():
        return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, wherever in it, also as `from package import module`."""
    found: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


@functools.cache
def section(title: str) -> list[list[str]]:
    """The table below a title of the page, row by row."""
    _, _, after = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition(f"\n## {title}\n")
    lines = itertools.takewhile(lambda line: not line.startswith("## "), after.splitlines())
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]


def is_in(name: str, cell: str) -> bool:
    """Whether a cell of the page names this module, its folder, a room above it `and all below`, or all scripts."""
    path = name.removeprefix("pipeline.").replace(".", "/")
    places = NAME.findall(cell)
    if " and all below" in cell and (name in SCRIPTS or room_of(name) >= room_of(places[0])):
        return True
    is_named = f"{path}.py" in places or f"{path.split('/')[0]}/" in places
    return is_named or (name in SCRIPTS and "the scripts" in cell) or cell == "everywhere"


@functools.cache
def room_of(name: str) -> int:
    """The place on the page of a room, or of a module's room."""
    (place,) = [n for n, (room, *_) in enumerate(section("Rooms")) if is_in(name, room)]
    return place


@functools.cache
def touched(path: Path) -> set[str]:
    """What a file uses, in the words of the page: imports with all their parents, calls as `name()`, `os.environ`."""
    found = {".".join(parts[:n]) for parts in (name.split(".") for name in imports(path)) for n in range(1, 9)}
    for node in nodes_of(path):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.add(f"{name}()")
        where = node.func if isinstance(node, ast.Call) else node
        if isinstance(where, ast.Attribute) and isinstance(where.value, ast.Name):
            found.add(f"{where.value.id}.{where.attr}" + "()" * isinstance(node, ast.Call))
    return found


def reached(name: str, files: dict[str, Path]) -> set[str]:
    """The modules that are imported with this one, by way of others too."""
    found, rest = set[str](), {name}
    while rest:
        one = rest.pop()
        found.add(one)
        rest |= (imports(files[one]) & files.keys()) - found
    return found


def test_every_module_is_on_the_list() -> None:
    assert set(modules()) == set(ORDER)


def test_a_module_imports_only_from_those_before_it() -> None:
    for number, name in enumerate(ORDER):
        assert imports(modules()[name]) & modules().keys() <= set(ORDER[:number]), name


def test_a_module_imports_only_from_rooms_above_its_own_on_the_page() -> None:
    for name in ORDER:
        ours = imports(modules()[name]) & modules().keys()
        assert not {other for other in ours if room_of(other) > room_of(name)}, name


@pytest.mark.parametrize(("thing", "code", "only", "others"), section("Who may touch what"))
def test_a_thing_is_touched_in_its_room_only_and_reached_from_few(
    thing: str, code: str, only: str, others: str
) -> None:
    files = modules() | SCRIPTS
    touching = {name for name, path in files.items() if touched(path) & set(NAME.findall(code))}
    reaching = {name for name in files if reached(name, files) & touching}

    assert touching, f"nothing touches {thing}: the page does not say what to look for"
    assert not {name for name in touching if not is_in(name, only)}
    assert not {name for name in reaching - touching if not is_in(name, others)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_only_the_settings_and_commands_of_others(name: str) -> None:
    ours = {other for other in imports(SCRIPTS[name]) if other in SCRIPTS}

    assert not {other for other in ours - {"data_lake_config"} if not other.startswith("commands.")}


def test_nothing_that_runs_for_users_leans_on_the_emulator_or_the_demo() -> None:
    for path in [*modules().values(), *SCRIPTS.values()]:
        assert not {m for m in imports(path) if m.split(".")[0] in ("ksqldb_emulator", "demo", "tests")}, path
