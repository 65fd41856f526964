"""What a check found to be wrong: one shape for all checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that `verify` found wrong."""

    feed: str
    what: str
    detail: str
