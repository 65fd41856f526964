"""What the ledger of runs says: when each feed was exported, what failed last, and what verifications found."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.lake.runs import RunEntry
from pipeline.text import plural

Scope = Literal["files", "new files", "logs", "source", "warehouse"]
SCOPES: tuple[Scope, ...] = ("files", "new files", "logs", "source", "warehouse")
"""What was compared: the contents of all files with their logs; those of a run or some feeds; logs, without reading
files; lake and source; warehouse and lake.
"""
Step = Literal["export", "sync", "verification"]
"""What is done night by night, for all feeds, in one run or in several."""
_EXPORT, _SYNC, _VERIFY = "export_to_data_lake.py", "sync_to_mysql.py", ["metadata_utils.py", "verify"]
_PARTS: Mapping[Step, str] = {"sync": "sync", "verification": "verify"}
"""The steps that may follow an export, and where its result has them."""
_NOT_WELL = ("failed", "killed", "again later")
_GOOD = ("ok", "held")
"""How an export says of a feed that its rows are in the lake."""
_WRONG_USAGE, _AGAIN_LATER = 2, 75
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


@dataclass(frozen=True)
class Taken:
    """A run that took a step, and why that step did not end well; empty where it did."""

    run: RunEntry
    trouble: str = ""


@dataclass
class History:
    """What the newest `runs` came to. `errors` are of feeds whose newest export failed; `last_run` is an export.

    `taken` has the runs that took each step, the newest first; `proofs` the newest verification of each scope that
    there is one of. The newest one is the one that ended last. What was refused as wrong usage counts for nothing, and
    neither does what was only postponed while another run did it.
    """

    runs: tuple[RunEntry, ...] = ()
    exported_at: dict[str, dt.datetime] = field(default_factory=dict)
    errors: dict[str, Mapping[str, str]] = field(default_factory=dict)
    last_run: RunEntry | None = None
    taken: dict[Step, list[Taken]] = field(default_factory=dict)
    proofs: dict[Scope, Proof] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, newest_first: Iterable[RunEntry], now: dt.datetime) -> History:
        """Looks back three months."""
        runs = tuple(itertools.takewhile(lambda run: now - run.begun_at <= _LOOK_BACK, newest_first))
        found = cls(runs)
        over = sorted((run for run in runs if run.state != "running"), key=_end_of, reverse=True)
        for place, run in enumerate(over):
            others = _meanwhile(run, over[place + 1 :], runs) if run.exit_code == _AGAIN_LATER else ()
            if is_export(run):
                found._add_export(run, others)
            if not _is_refused(run):
                found._add_steps(run, others)
            found._add_proof(run)
        return found

    def _add_export(self, run: RunEntry, others: Sequence[RunEntry]) -> None:
        if self.last_run is None:
            self.last_run = run
        for feed in exported_feeds(run):
            name = str(feed["feed"])
            if feed.get("status") in _GOOD and run.ended_at is not None:
                self.exported_at.setdefault(name, run.ended_at)
            is_void = run.exit_code == _WRONG_USAGE or any(_exports(other, name) for other in others)
            if name in self._seen or (feed.get("error") and is_void):
                continue
            if feed.get("error"):
                self.errors[name] = feed["error"]
            self._seen.add(name)

    def _add_steps(self, run: RunEntry, others: Sequence[RunEntry]) -> None:
        for step, trouble in steps_of(run):
            if not any(_takes(other, step, run) for other in others):
                self.taken.setdefault(step, []).append(Taken(run, trouble))

    def _add_proof(self, run: RunEntry) -> None:
        result, words = run.result if isinstance(run.result, dict) else {}, _words_of(run.command)
        verified, is_named = result.get("verify"), True  # an export may end with one
        if words[:2] == _VERIFY:
            verified, is_named = result, not _is_of_all(words)
        if not isinstance(verified, dict) or "findings" not in verified:
            return
        read = verified.get("files_read", "new" if "--since" in words else "all")  # older records do not say it
        where: Scope = "logs" if read == "no" else "new files" if is_named or read == "new" else "files"
        scopes = [where] if where != "logs" or not is_named else []  # a look at some logs stands for nothing
        proof = Proof(run, len(_list(verified, "feeds")), _objects(verified, "findings"), _objects(verified, "errors"))
        for scope in (*scopes, *(scope for scope in SCOPES if f"--{scope}" in words)):
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


def steps_of(run: RunEntry) -> Iterator[tuple[Step, str]]:
    """The steps that a run took for all feeds, each with its trouble; none for one that goes on."""
    words, result = _words_of(run.command), run.result if isinstance(run.result, dict) else {}
    if run.state == "running":
        return
    if is_export(run):
        yield "export", _trouble_of_export(run, result)
        for step, part in _PARTS.items():
            if isinstance(found := result.get(part), dict):
                yield step, _trouble(run, _objects(found, "errors"), found)
    elif words[:1] == [_SYNC] and (not words[1:] or words[1].startswith("-")) and "--table" not in words:
        yield "sync", _trouble(run, run.errors, result) or _trouble_of_run(run, bool(run.errors))
    elif words[:2] == _VERIFY and _is_of_all(words):
        yield "verification", _trouble(run, run.errors, result) or _trouble_of_run(run, bool(result.get("findings")))


def _end_of(run: RunEntry) -> dt.datetime:
    """When a run ended, or began where its end is not known."""
    return run.ended_at or run.begun_at


def _meanwhile(run: RunEntry, ended_before: Iterable[RunEntry], runs: Iterable[RunEntry]) -> list[RunEntry]:
    """The runs that ended between the begin and the end of a run, and those of all `runs` that still go on."""
    ended = itertools.takewhile(lambda other: _end_of(other) > run.begun_at, ended_before)
    return [*ended, *(other for other in runs if other.state == "running" and other.begun_at <= _end_of(run))]


def _is_refused(run: RunEntry) -> bool:
    """Whether a run did nothing, because it was asked for what cannot be."""
    return run.exit_code == _WRONG_USAGE and all(feed.get("status") not in _GOOD for feed in exported_feeds(run))


def _exports(run: RunEntry, feed: str) -> bool:
    """Whether a run exported the feed, or is about to."""
    if run.state == "running":
        return is_export(run) and not {"--all", feed}.isdisjoint(_words_of(run.command))
    return any(one["feed"] == feed and one.get("status") in _GOOD for one in exported_feeds(run))


def _takes(run: RunEntry, step: Step, postponed: RunEntry) -> bool:
    """Whether a run took the step well, or is about to, for all feeds of one that was postponed."""
    words, wanted = _words_of(run.command), _words_of(postponed.command)
    if words != wanted and not (is_export(run) and "--all" in words):
        return False
    if run.state == "running":
        return step == "export" or not is_export(run)
    return dict(steps_of(run)).get(step) == ""


def _trouble_of_export(run: RunEntry, result: Mapping[str, Any]) -> str:
    """What is said of no feed and of no other step."""
    parts = [found for part in _PARTS.values() if isinstance(found := result.get(part), dict)]
    known = [feed["error"] for feed in exported_feeds(run) if feed.get("error")]
    known += [error for part in parts for error in _objects(part, "errors")]
    said = [error for error in run.errors if error not in known]
    is_told = bool(known) or any(_rejected(part) or part.get("findings") for part in parts)
    return _trouble(run, said, {}) or _trouble_of_run(run, is_told)


def _trouble(run: RunEntry, errors: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> str:
    """The first error of a step, or that rows were rejected."""
    if run.state in _NOT_WELL and errors:
        return f"{run.state}: {errors[0].get('message', '')}"
    rejected = _rejected(result)
    return f"{plural(rejected, 'row')} rejected" if rejected else ""


def _trouble_of_run(run: RunEntry, is_told: bool) -> str:
    if run.state not in _NOT_WELL or is_told:
        return ""
    state = "killed, or the disk was full at its end" if run.state == "killed" else run.state
    return f"{state}: {run.command}"


def _rejected(result: Mapping[str, Any]) -> int:
    """The rows that a sync, or its loads, rejected."""
    return sum(
        int(fact.get("rejected", 0))
        for load in (result, *_objects(result, "loads"))
        for fact in _objects(load, "facts")
    )


def _is_of_all(words: Sequence[str]) -> bool:
    """Whether a verification is one of all files of all feeds."""
    return "--since" not in words and all(word.startswith("-") for word in words[2:])


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
