from __future__ import annotations

import pytest

from tests.support import ROOT

_CONFTEST = "pytest_plugins = ['tests.lost_workers']"


@pytest.fixture(autouse=True)
def _tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", ["*gw0 was ended by SIGSEGV", "Fatal Python error*", "*in test_it"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", ["*gw0 was ended by SIGKILL"]),
        ("os._exit(7)", ["*gw0 ended with exit code 7"]),
    ],
)
def test_a_lost_worker_is_explained(pytester: pytest.Pytester, act: str, said: list[str]) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(f"import os, signal\ndef test_it():\n    {act}")

    done = pytester.runpytest_subprocess("-n1", "-p", "no:cacheprovider", "--max-worker-restart=0")

    done.stdout.fnmatch_lines(["*= lost worker =*", *said])


def test_a_run_that_loses_none_says_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile("def test_it(): pass")

    done = pytester.runpytest_subprocess("-n1", "-p", "no:cacheprovider")

    assert done.ret == 0
    done.stdout.no_fnmatch_line("*lost worker*")
