"""Scripted faults: failures of a real cluster, on demand.

A fault matches requests by kind (`info`, `ksql`, `pull`, `push`, `close`) and source, and applies `count` times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

KINDS = ("info", "ksql", "pull", "push", "close", "any")


@dataclass
class Fault:
    """One thing that goes wrong. Only the fields that are set apply; `count` 0 means always.

    cut_at           end the answer after that many bytes: by FIN, or by RST with `reset`, or cleanly with `clean`
    error_after      an error element after that many rows, then a proper end
    status, body     answer with that status (and text) instead
    keep_share       rows of a table pull that are sent; the rest is missing without a sign
    first_byte_s     wait before the first byte
    idle_after       send nothing more after that many rows, and stay open
    unsent_after     rows of a push after that many are processed but never sent
    replay_rows      send the last that many rows of each answer once more
    unchunked        no Transfer-Encoding, no length: the connection's end is the body's end
    chunk_bytes      cut the body into chunks of that size, through rows and characters
    keep_alive       a bare newline between elements
    trailing_comma   end with a comma before the bracket
    no_bracket       end without the closing bracket
    frozen           a push shows positions of -1 for ever
    elsewhere        a query cannot be closed on this node
    """

    kind: str = "any"
    source: str = ""
    count: int = 1
    cut_at: int | None = None
    reset: bool = False
    clean: bool = False
    error_after: int | None = None
    status: int | None = None
    body: str = '{"@type":"generic_error","error_code":42900,"message":"Host is at rate limit for pull queries."}'
    keep_share: float | None = None
    first_byte_s: float = 0.0
    idle_after: int | None = None
    unsent_after: int | None = None
    replay_rows: int = 0
    unchunked: bool = False
    chunk_bytes: int | None = None
    keep_alive: bool = False
    trailing_comma: bool = False
    no_bracket: bool = False
    frozen: bool = False
    elsewhere: bool = False
    used: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault's kind is one of {KINDS}, not {self.kind!r}")


NO_FAULT = Fault()


class Faults:
    """The faults that were not used yet, in order."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        self._waiting.clear()

    def load(self, path: Path) -> None:
        """Adds the faults of a JSON file: a list of objects with the fields of `Fault`."""
        known = {entry.name for entry in fields(Fault) if entry.init}
        for entry in json.loads(path.read_text(encoding="utf-8")):
            if unknown := set(entry) - known:
                raise ValueError(f"{path}: a fault has no {sorted(unknown)}")
            self.add(Fault(**entry))

    def take(self, kind: str, source: str = "") -> Fault:
        """The fault for this request, counted as used; `NO_FAULT` when there is none."""
        for fault in self._waiting:
            if fault.kind in (kind, "any") and fault.source in ("", source):
                fault.used += 1
                if fault.count and fault.used >= fault.count:
                    self._waiting.remove(fault)
                return fault
        return NO_FAULT
