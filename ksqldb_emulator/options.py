"""How the emulated server behaves."""

from __future__ import annotations

from dataclasses import dataclass

from ksqldb_emulator.queries import Pace


@dataclass
class Options(Pace):
    """How this server behaves, which can change at any time. `linger_s`: how long a query outlives its client."""

    user: str = ""
    password: str = ""
    linger_s: float = 0
    max_push_queries: int = 100
    denied_properties: tuple[str, ...] = ()
