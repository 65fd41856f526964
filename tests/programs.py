"""Programs of Debian that tests run: installed where that is possible."""

from __future__ import annotations

import shutil

import pytest

from demo.private_process import ServerMissing, install_packages


def need(program: str, package: str) -> None:
    """Installs the package if its program is missing; skips the test where that is not possible."""
    try:
        install_packages(program, [package], lambda: shutil.which(program) is not None)
    except ServerMissing as error:
        pytest.skip(str(error))
