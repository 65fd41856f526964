"""A browser for tests and for pictures of pages: Debian's headless Chromium, installed where root may do it."""

from __future__ import annotations

import shutil

from demo.private_process import install_packages

PROGRAMS = ("chromium-headless-shell", "chromium")


def chromium() -> str:
    """Its program; raises ServerMissing where there is none and none can be installed."""
    install_packages("Chromium", PROGRAMS[:1], lambda: _found() is not None)
    found = _found()
    assert found is not None
    return found


def _found() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)
