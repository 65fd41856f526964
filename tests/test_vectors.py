"""What the run says where the recorded answers of a real server are not: one line, and a failure in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

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
def test_tests_without_their_vectors_are_one_line_and_a_failure_in_ci(tmp_path: Path, ci: str, code: int) -> None:
    tests = tmp_path / "clone" / "tests"
    tests.mkdir(parents=True)
    for name in ("__init__.py", "conftest.py", "vectors.py"):
        shutil.copy(ROOT / "tests" / name, tests)
    shutil.copy(ROOT / "pyproject.toml", tests.parent)
    (tests / "test_some.py").write_text(TESTS, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tests.parent, env=os.environ | {"CI": ci, "PYTHONPATH": f"{tests.parent}:{ROOT}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == code, done.stdout + done.stderr
    assert "1 passed, 51 deselected" in done.stdout
    assert done.stdout.count("left out: put a real server's answers into shared/vectors") == 1
    assert ("counts as a failure in CI" in done.stdout) == bool(ci)
