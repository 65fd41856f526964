"""Errors have one tree, and one place that catches all of them."""

from __future__ import annotations

import ast

from pipeline import errors
from tests.support import ROOT
from tests.test_layout import modules, nodes_of


def test_one_module_alone_catches_everything() -> None:
    catching = {name for name, path in modules().items() if "except Exception" in path.read_text(encoding="utf-8")}

    assert catching == {"pipeline.faults"}


def test_the_tree_of_errors_is_in_one_place() -> None:
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type)}

    for path in [*modules().values(), *ROOT.glob("*.py")]:
        classes = [node for node in nodes_of(path) if isinstance(node, ast.ClassDef)]
        strays = {
            kind.name for kind in classes for base in kind.bases if isinstance(base, ast.Name) and base.id in tree
        }
        assert not strays or path.name == "errors.py", path
