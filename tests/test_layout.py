"""The order of the package: a module imports only from those before it, and only its room touches a library."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

from pipeline import errors
from tests.support import ROOT

ORDER = [
    "pipeline.start",
    "pipeline.errors",
    "pipeline.text",
    "pipeline.faults",
    "pipeline.validation",
    "pipeline.settings",
    "pipeline.feeds",
    "pipeline.findings",
    "pipeline.exact_text",
    "pipeline.fingerprint",
    "pipeline.warehouse.scratch",
    "pipeline.columns",
    "pipeline.source",
    "pipeline.once",
    "pipeline.decode.reference",
    "pipeline.ksqldb.sqltypes",
    "pipeline.ksqldb.errors",
    "pipeline.ksqldb.elements",
    "pipeline.ksqldb.framing",
    "pipeline.ksqldb.bodies",
    "pipeline.ksqldb.answer",
    "pipeline.ksqldb.client",
    "pipeline.ksqldb.describe",
    "pipeline.ksqldb.cluster",
    "pipeline.ksqldb.long_decimals",
    "pipeline.ksqldb.projection",
    "pipeline.ksqldb.stop_rule",
    "pipeline.ksqldb.push",
    "pipeline.ksqldb.stream",
    "pipeline.ksqldb.pull",
    "pipeline.ksqldb.source",
    "pipeline.lake.holder",
    "pipeline.lake.local_store",
    "pipeline.lake.lock",
    "pipeline.lake.feed_store",
    "pipeline.lake.writer",
    "pipeline.lake.columns",
    "pipeline.lake.delta",
    "pipeline.lake.log",
    "pipeline.lake.entry",
    "pipeline.lake.files",
    "pipeline.lake.clock",
    "pipeline.lake.leftovers",
    "pipeline.lake.rule",
    "pipeline.lake.change",
    "pipeline.lake.table",
    "pipeline.lake.metadata",
    "pipeline.lake.views",
    "pipeline.lake.lake",
    "pipeline.lake.versions",
    "pipeline.lake.retention",
    "pipeline.lake.rewrite",
    "pipeline.lake.unexpire",
    "pipeline.export.believed",
    "pipeline.export.plan",
    "pipeline.export.stage",
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
    "pipeline.readiness",
    "pipeline.report.feeds",
    "pipeline.report.warehouse",
    "pipeline.process",
    "pipeline.cli",
    "pipeline.options",
]
_HTTP = {f"pipeline.ksqldb.{name}" for name in ("errors", "bodies", "answer", "client")}
ROOMS = {
    "requests": _HTTP,
    "urllib3": _HTTP,
    "deltalake": {f"pipeline.lake.{module}" for module in ("delta", "log", "entry", "files", "change", "table")},
    "filelock": {"pipeline.lake.lock"},
    "mysql": {"pipeline.warehouse.refusals", "pipeline.warehouse.connection"},
    "click": {"pipeline.cli", "pipeline.options"},
}

KNOW_NO_SERVER = ("pipeline.source", "pipeline.once", "pipeline.lake.", "pipeline.export.", "pipeline.verify.")


@cache
def modules() -> dict[str, Path]:
    paths = (path for path in (ROOT / "pipeline").rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


@cache
def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@cache
def everything_behind(name: str) -> set[str]:
    """The modules of the package that one imports, itself or through another."""
    behind, due = set[str](), {name}
    while due:
        behind |= due
        due = {module for known in due for module in imports(modules()[known]) if module in ORDER} - behind
    return behind - {name}


def test_every_module_is_on_the_list() -> None:
    assert set(modules()) == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_from_those_before_it(name: str) -> None:
    ours = {module for module in imports(modules()[name]) if module.startswith("pipeline.")}

    assert ours <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("name", ORDER)
def test_a_library_is_used_in_its_room_only(name: str) -> None:
    for module in imports(modules()[name]):
        rooms = ROOMS.get(module.split(".")[0])
        assert rooms is None or name in rooms, f"{name} imports {module}"


@pytest.mark.parametrize("name", ORDER)
def test_no_module_reads_the_environment_or_catches_everything(name: str) -> None:
    text = modules()[name].read_text(encoding="utf-8")

    assert "os.environ" not in text
    assert name == "pipeline.faults" or "except Exception" not in text


@pytest.mark.parametrize("name", [name for name in ORDER if name.startswith(KNOW_NO_SERVER)])
def test_the_source_of_rows_is_chosen_by_the_scripts(name: str) -> None:
    """Also through other modules: what reads rows speaks to `pipeline.source` only."""
    assert not {module for module in everything_behind(name) if module.startswith("pipeline.ksqldb")}


def test_nothing_that_runs_for_users_leans_on_the_emulator_or_the_demo() -> None:
    scripts = [ROOT / f"{name}.py" for name in ("data_lake_config", "manage_feeds", "export_to_data_lake",
               "metadata_utils", "sync_to_mysql", "test_setup")]  # fmt: skip
    for path in [*modules().values(), *scripts]:
        assert not {m for m in imports(path) if m.split(".")[0] in ("ksqldb_emulator", "demo", "tests")}, path


def test_the_tree_of_errors_is_in_one_place() -> None:
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type)}

    for path in [*modules().values(), *ROOT.glob("*.py")]:
        classes = [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)
        ]
        strays = {
            kind.name for kind in classes for base in kind.bases if isinstance(base, ast.Name) and base.id in tree
        }
        assert not strays or path.name == "errors.py", path


@pytest.mark.parametrize("name", [name for name in ORDER if name.startswith("pipeline.warehouse.")])
def test_the_warehouse_keeps_files_in_its_scratch_folder_only(name: str) -> None:
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    keeping = {"mkdtemp", "mkdir", "open", "write_bytes", "write_text", "touch", "rename", "unlink", "rmdir", "rmtree"}
    allowed = name in ("pipeline.warehouse.scratch", "pipeline.warehouse.sorted_rows")

    assert allowed or not calls & keeping


def test_what_make_mutants_changes_and_runs_is_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]

    for name in settings["only_mutate"] + settings["pytest_add_cli_args_test_selection"]:
        assert (ROOT / name).is_file(), name
