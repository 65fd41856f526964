"""The one place that chooses how answers are decoded."""

from __future__ import annotations

import functools

from pipeline.decode.layout import Engine
from pipeline.decode.rows import Reference


@functools.cache
def engine() -> Engine:
    """The native engine if it is built in the version that this code needs, else the reference."""
    try:
        from pipeline.decode.native import VERSION, Native, built_version
    except ImportError:
        return Reference()
    return Native() if built_version() == VERSION else Reference()
