"""What the ledger of runs says: how the newest run of each command ended, and what `verify` proved last."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.lake.runs import RunEntry

Scope = Literal["files", "source", "warehouse"]
SCOPES: tuple[Scope, ...] = ("files", "source", "warehouse")
"""What data is compared with: the log of its own feed, the source, the warehouse."""


@dataclass(frozen=True)
class Proof:
    """A run of `verify`: how many feeds it looked at, what it found, and what it could not look at."""

    run: RunEntry
    feeds: int
    findings: tuple[Mapping[str, Any], ...]
    errors: tuple[Mapping[str, Any], ...]

    @property
    def is_clean(self) -> bool:
        return not self.findings and not self.errors


def newest_proofs(runs: Sequence[RunEntry]) -> dict[Scope, Proof]:
    """The newest run of `verify` that ended, of each scope that there is one of."""
    found: dict[Scope, Proof] = {}
    for run in runs:
        words = _words(run)
        result = run.result if isinstance(run.result, dict) else {}
        verified = result if "verify" in words[1:] else result.get("verify")  # an export may end with one
        if not isinstance(verified, dict) or "findings" not in verified:
            continue
        found_wrong, errors = _objects(verified, "findings"), _objects(verified, "errors")
        proof = Proof(run, len(_list(verified, "feeds")), found_wrong, errors)
        for scope in SCOPES:
            if scope == "files" or f"--{scope}" in words:
                found.setdefault(scope, proof)
    return found


def newest_of_each_command(runs: Sequence[RunEntry]) -> Iterator[RunEntry]:
    """The newest run of each script, or of each command of a script that has several."""
    seen = set[tuple[str, ...]]()
    for run in runs:
        words = _words(run)
        command = tuple(words[:1] + [word for word in words[1:2] if not word.startswith("-")])
        if command not in seen:
            seen.add(command)
            yield run


def _words(run: RunEntry) -> list[str]:
    try:
        return shlex.split(run.command)
    except ValueError:  # a command line that was cut
        return run.command.split()


def _list(result: Mapping[str, Any], key: str) -> list[Any]:
    value = result.get(key)
    return value if isinstance(value, list) else []


def _objects(result: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in _list(result, key) if isinstance(one, dict))
