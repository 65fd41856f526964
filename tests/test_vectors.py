"""What the run says where the recorded answers of a real server are not: one line, and a failure in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import vectors
from tests.support import ROOT

HOOKS = ("pytest_collection_modifyitems", "pytest_terminal_summary", "pytest_sessionfinish")
TESTS = """
import pytest
from tests.vectors import in_both, load_json, needs_vectors

@needs_vectors
@pytest.mark.parametrize("n", range(50))
def test_with_the_vectors(n):
    load_json("nowhere")

@pytest.mark.parametrize("name", in_both(["theirs", "own: ours"]))
def test_with_either(name):
    assert name == "own: ours"
"""


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_tests_without_their_vectors_are_one_line_and_a_failure_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, code: int
) -> None:
    monkeypatch.setattr(vectors, "VECTORS", Path("/nonexistent/shared/vectors"))
    monkeypatch.setenv("CI", ci)
    pytester.makepyprojecttoml((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pytester.makeconftest(f"from tests.conftest import {', '.join(HOOKS)}")
    pytester.mkdir("tests").joinpath("test_some.py").write_text(TESTS, encoding="utf-8")

    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    assert done.ret == code
    assert "1 passed, 51 deselected" in done.stdout.str()
    assert done.stdout.str().count("left out: put a real server's answers into shared/vectors") == 1
    assert ("counts as a failure in CI" in done.stdout.str()) == bool(ci)
