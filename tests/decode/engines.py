"""The engines that decode answers, for tests that hold for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.decode import engine as engines
from pipeline.decode.layout import Engine
from pipeline.decode.rows import Reference

NOT_BUILT = "the native decoder is not built: run make where cargo 1.85 or newer is"
IS_BUILT = engines.engine().name == "native"
needs_native = pytest.mark.skipif(not IS_BUILT, reason=NOT_BUILT)
ENGINES = [Reference(), pytest.param(engines.engine(), marks=needs_native)]


@pytest.fixture(params=ENGINES, ids=["reference", "native"], scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Answers are decoded by it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engines, "engine", lambda: request.param)
        yield request.param
