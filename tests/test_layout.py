"""The map of docs/architecture.md against the code: order of the rooms, and who may touch what, through others too."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from pathlib import Path

import pytest

from tests.support import ROOT, SCRIPTS

ORDER = [
    "pipeline.start",
    "pipeline.prerequisites",
    "pipeline.errors",
    "pipeline.text",
    "pipeline.faults",
    "pipeline.validation",
    "pipeline.settings",
    "pipeline.feeds",
    "pipeline.cycles",
    "pipeline.findings",
    "pipeline.exact_text",
    "pipeline.fingerprint",
    "pipeline.scratch",
    "pipeline.columns",
    "pipeline.turns",
    "pipeline.limits",
    "pipeline.source",
    "pipeline.unreadable",
    "pipeline.once",
    "pipeline.decode.layout",
    "pipeline.decode.reference",
    "pipeline.decode.row_ends",
    "pipeline.decode.rows",
    "pipeline.decode.native_payloads",
    "pipeline.decode.native",
    "pipeline.decode.engine",
    "pipeline.ksqldb.sqltypes",
    "pipeline.ksqldb.errors",
    "pipeline.ksqldb.elements",
    "pipeline.ksqldb.framing",
    "pipeline.ksqldb.chunks",
    "pipeline.ksqldb.bodies",
    "pipeline.ksqldb.answer",
    "pipeline.ksqldb.client",
    "pipeline.ksqldb.describe",
    "pipeline.ksqldb.cluster",
    "pipeline.ksqldb.long_decimals",
    "pipeline.ksqldb.projection",
    "pipeline.ksqldb.stop_rule",
    "pipeline.ksqldb.push",
    "pipeline.ksqldb.columns",
    "pipeline.ksqldb.stream",
    "pipeline.ksqldb.newest_rows",
    "pipeline.ksqldb.pull",
    "pipeline.ksqldb.source",
    "pipeline.ksqldb.settings",
    "pipeline.kafka.connection",
    "pipeline.kafka.registry",
    "pipeline.kafka.formats.payload",
    "pipeline.kafka.formats.arrays",
    "pipeline.kafka.formats.java",
    "pipeline.kafka.formats.held",
    "pipeline.kafka.formats.json_names",
    "pipeline.kafka.formats.json_exact",
    "pipeline.kafka.formats.json_payloads",
    "pipeline.kafka.formats.delimited",
    "pipeline.kafka.formats.primitive",
    "pipeline.kafka.formats.windowed_key",
    "pipeline.kafka.formats.connect",
    "pipeline.kafka.formats.registered",
    "pipeline.kafka.formats.avro",
    "pipeline.kafka.formats.protobuf_files",
    "pipeline.kafka.formats.protobuf",
    "pipeline.kafka.formats.deserializer",
    "pipeline.kafka.settings",
    "pipeline.kafka.declaration",
    "pipeline.kafka.rowtime",
    "pipeline.kafka.errors",
    "pipeline.kafka.topic",
    "pipeline.kafka.checks",
    "pipeline.kafka.reader",
    "pipeline.kafka.rows",
    "pipeline.kafka.stream",
    "pipeline.kafka.changes",
    "pipeline.kafka.table_rows",
    "pipeline.kafka.table",
    "pipeline.kafka.source",
    "pipeline.lake.names",
    "pipeline.lake.store",
    "pipeline.lake.disk",
    "pipeline.lake.holder",
    "pipeline.lake.lock",
    "pipeline.lake.local_store",
    "pipeline.lake.feed_store",
    "pipeline.lake.encoding",
    "pipeline.lake.open_file",
    "pipeline.lake.writer",
    "pipeline.lake.columns",
    "pipeline.lake.files",
    "pipeline.lake.delta",
    "pipeline.lake.log",
    "pipeline.lake.entry",
    "pipeline.lake.clock",
    "pipeline.lake.leftovers",
    "pipeline.lake.rule",
    "pipeline.lake.change",
    "pipeline.lake.table",
    "pipeline.lake.staging",
    "pipeline.lake.versions",
    "pipeline.lake.metadata",
    "pipeline.lake.views",
    "pipeline.lake.runs",
    "pipeline.lake.run_log",
    "pipeline.lake.lake",
    "pipeline.lake.retention",
    "pipeline.lake.rewrite",
    "pipeline.lake.sorting",
    "pipeline.lake.compaction",
    "pipeline.lake.unexpire",
    "pipeline.export.believed",
    "pipeline.export.plan",
    "pipeline.export.behind",
    "pipeline.export.left_out",
    "pipeline.export.stage",
    "pipeline.export.order",
    "pipeline.export.worker",
    "pipeline.export.pool",
    "pipeline.export.commit",
    "pipeline.export.witness",
    "pipeline.export.stream",
    "pipeline.export.snapshot",
    "pipeline.export.replace",
    "pipeline.export.preview",
    "pipeline.export.run",
    "pipeline.export.selection",
    "pipeline.verify.verdict",
    "pipeline.verify.files",
    "pipeline.verify.versions",
    "pipeline.verify.let_go",
    "pipeline.verify.source",
    "pipeline.damage",
    "pipeline.repair",
    "pipeline.warehouse.option_file",
    "pipeline.warehouse.server",
    "pipeline.warehouse.refusals",
    "pipeline.warehouse.connection",
    "pipeline.warehouse.target",
    "pipeline.warehouse.migrations",
    "pipeline.warehouse.value_rules",
    "pipeline.warehouse.fitting",
    "pipeline.warehouse.mapping",
    "pipeline.warehouse.sorted_rows",
    "pipeline.warehouse.send",
    "pipeline.warehouse.session_tables",
    "pipeline.warehouse.ledger",
    "pipeline.warehouse.clock",
    "pipeline.warehouse.rollback",
    "pipeline.warehouse.redate",
    "pipeline.warehouse.retention",
    "pipeline.warehouse.dimension",
    "pipeline.warehouse.fact",
    "pipeline.warehouse.load",
    "pipeline.warehouse.sources",
    "pipeline.warehouse.selection",
    "pipeline.warehouse.sync",
    "pipeline.warehouse.proposal",
    "pipeline.feed_changes",
    "pipeline.verify.ledger",
    "pipeline.verify.warehouse",
    "pipeline.verify.verification",
    "pipeline.report.model",
    "pipeline.report.text",
    "pipeline.report.json_forms",
    "pipeline.report.export",
    "pipeline.report.runs",
    "pipeline.report.differences",
    "pipeline.readiness",
    "pipeline.report.feeds",
    "pipeline.report.warehouse",
    "pipeline.process",
    "pipeline.journal",
    "pipeline.cli",
    "pipeline.scripts",
    "pipeline.options",
]
NAME = re.compile(r"`([^`]+)`")


@functools.cache
def modules() -> dict[str, Path]:
    paths = (path for path in (ROOT / "pipeline").rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
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


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_from_those_before_it(name: str) -> None:
    assert imports(modules()[name]) & modules().keys() <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_from_rooms_above_its_own_on_the_page(name: str) -> None:
    ours = imports(modules()[name]) & modules().keys()

    assert not {other for other in ours if room_of(other) > room_of(name)}


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
