"""What the ledger of runs says: when each feed was exported, what failed last, and what verifications found."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.lake.runs import RunEntry

Scope = Literal["files", "new files", "source", "warehouse"]
SCOPES: tuple[Scope, ...] = ("files", "new files", "source", "warehouse")
"""What was compared: all files with their logs; those of a run or some feeds; lake and source; warehouse and lake."""
_EXPORT, _VERIFY = "export_to_data_lake.py", ["metadata_utils.py", "verify"]
_LOOK_BACK = dt.timedelta(days=92)


@dataclass(frozen=True)
class Proof:
    """A verification that ended: of how many feeds, what it found, and what it could not look at."""

    run: RunEntry
    feeds: int
    findings: tuple[Mapping[str, Any], ...]
    errors: tuple[Mapping[str, Any], ...]

    @property
    def at(self) -> dt.datetime:
        return self.run.ended_at or self.run.begun_at

    @property
    def is_clean(self) -> bool:
        return not self.findings and not self.errors


@dataclass
class History:
    """What the newest `runs` came to. `errors` are of feeds whose newest export failed; `last_run` is an export.

    `proofs` has the newest verification of each scope that there is one of.
    """

    runs: tuple[RunEntry, ...] = ()
    exported_at: dict[str, dt.datetime] = field(default_factory=dict)
    errors: dict[str, Mapping[str, str]] = field(default_factory=dict)
    last_run: RunEntry | None = None
    proofs: dict[Scope, Proof] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, newest_first: Iterable[RunEntry], now: dt.datetime) -> History:
        """Looks back three months."""
        runs = tuple(itertools.takewhile(lambda run: now - run.begun_at <= _LOOK_BACK, newest_first))
        found = cls(runs)
        for run in runs:
            if is_export(run):
                found._add_export(run)
            found._add_proof(run)
        return found

    def _add_export(self, run: RunEntry) -> None:
        if self.last_run is None and run.state != "running":
            self.last_run = run
        for feed in exported_feeds(run):
            name = str(feed["feed"])
            if feed.get("status") in ("ok", "held") and run.ended_at is not None:
                self.exported_at.setdefault(name, run.ended_at)
            if name not in self._seen and feed.get("error"):
                self.errors[name] = feed["error"]
            self._seen.add(name)

    def _add_proof(self, run: RunEntry) -> None:
        result, words = run.result if isinstance(run.result, dict) else {}, _words_of(run.command)
        verified, is_whole = result.get("verify"), False  # an export may end with one
        if words[:2] == _VERIFY:
            verified, named = result, set(words[2:]).intersection(map(str, _list(result, "feeds")))
            is_whole = "--since" not in words and not named
        if not isinstance(verified, dict) or "findings" not in verified:
            return
        proof = Proof(run, len(_list(verified, "feeds")), _objects(verified, "findings"), _objects(verified, "errors"))
        self.proofs.setdefault("files" if is_whole else "new files", proof)
        for scope in SCOPES[2:]:
            if f"--{scope}" in words:
                self.proofs.setdefault(scope, proof)

    def newest_of_each_command(self) -> Iterator[RunEntry]:
        """The newest run of each script, or of each command of a script that has several."""
        seen = set[tuple[str, ...]]()
        for run in self.runs:
            words = _words_of(run.command)
            command = tuple(words[:1] + [word for word in words[1:2] if not word.startswith("-")])
            if command not in seen:
                seen.add(command)
                yield run


def is_export(run: RunEntry) -> bool:
    return run.command.startswith(_EXPORT)


def exported_feeds(run: RunEntry) -> list[Mapping[str, Any]]:
    """What the record of an export says of each feed."""
    result = run.result if isinstance(run.result, dict) else {}
    return [feed for feed in _objects(result, "feeds") if "feed" in feed]


@functools.lru_cache(maxsize=100)  # a ledger has the same few commands again and again
def _words_of(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a command line that was cut
        return command.split()


def _list(result: Mapping[str, Any], key: str) -> list[Any]:
    value = result.get(key)
    return value if isinstance(value, list) else []


def _objects(result: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in _list(result, key) if isinstance(one, dict))
