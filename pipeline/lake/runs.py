"""The lake's ledger of runs: which commands were run on it, when, and how each ended.

`runs/YYYY-MM.jsonl` has the runs that began in that month (UTC), as JSON lines: one when a command begins, one when it
ends. A run that was killed has no second line. Losing the ledger loses no row of the lake.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.lake.holder import Holder
from pipeline.lake.store import Store, disk_errors

_FOLDER = "runs"
_MOST_BYTES = 200_000


@dataclass(frozen=True)
class SentAlert:
    """An alert that reached its command: what is wrong, by feed and kind, nothing where all is well again."""

    at: dt.datetime
    about: tuple[str, ...]


@dataclass(frozen=True)
class RunEntry:
    """One run. `exit_code` and `ended_at` are None for a run without an end; `state` says why.

    `result` is what the command prints with `--json`, `said` are its printed lines if it has no such form; `errors` are
    messages with hints. `alert` is what a person was alerted of, if anything.
    """

    id: str
    command: str
    begun_at: dt.datetime
    state: str
    ended_at: dt.datetime | None = None
    exit_code: int | None = None
    seconds: float | None = None
    errors: tuple[Mapping[str, str], ...] = ()
    result: Any = None
    said: tuple[str, ...] = ()
    alert: SentAlert | None = None


class RunLedger:
    """The ledger of the lake that is kept in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, run_id: str, command: str, now: dt.datetime) -> None:
        """Records that the run began. Raises DiskFull or LakeNotWritable."""
        process = Holder.of_this_process({}).as_json()["process"]
        self._add(run_id, {"event": "begun", "at": _text(now), "command": command, "process": process})

    def end(self, run_id: str, now: dt.datetime, outcome: Mapping[str, Any]) -> None:
        """Records how the run ended; `outcome` has the fields of RunEntry. Raises DiskFull or LakeNotWritable."""
        line = {"event": "ended", "at": _text(now), **outcome}
        if len(json.dumps(line)) > _MOST_BYTES:
            line |= {"result": None, "said": ["too long to be kept"]}
        self._add(run_id, line)

    def alerted(self, run_id: str, alert: SentAlert) -> None:
        """Records that a person was alerted by the run. Raises DiskFull or LakeNotWritable."""
        self._add(run_id, {"event": "alerted", "at": _text(alert.at), "about": alert.about})

    def take_over(self, other: RunLedger) -> None:
        """Adds the lines of another lake's ledger that are not here yet. Raises DiskFull or LakeNotWritable."""
        for month in _months(other._store):
            with disk_errors(self._store.uri(_FOLDER)):
                there = self._store.read(month) if self._store.size(month) is not None else b""
                known = set(there.splitlines())
                missing = [line for line in other._store.read(month).splitlines() if line not in known]
                if missing:
                    self._store.append(month, b"\n".join([*missing, b""]))

    def newest(self, count: int) -> list[RunEntry]:
        """The newest runs; those that began last come first."""
        return list(itertools.islice(self.newest_first(), count))

    def newest_first(self) -> Iterator[RunEntry]:
        """All runs; those that began last come first. A month is read when it is asked for."""
        for month in reversed(_months(self._store)):
            yield from sorted(self._month(month), key=lambda run: (run.begun_at, run.id), reverse=True)

    def _add(self, run_id: str, line: Mapping[str, Any]) -> None:
        data = json.dumps({"schema_version": 1, "run": run_id, **line}, sort_keys=True, ensure_ascii=False) + "\n"
        with disk_errors(self._store.uri(_FOLDER)):
            self._store.append(f"{_FOLDER}/{run_id[:4]}-{run_id[4:6]}.jsonl", data.encode(errors="backslashreplace"))

    def _month(self, name: str) -> Iterator[RunEntry]:
        with disk_errors(self._store.uri(_FOLDER), "read"):
            lines = self._store.read(name).splitlines()
        runs = dict[str, dict[str, dict[str, Any]]]()
        for line in _objects(lines):
            runs.setdefault(line["run"], {})[line["event"]] = line
        for run_id, events in runs.items():
            if "begun" in events:
                yield _entry(run_id, events["begun"], events.get("ended"), events.get("alerted"))


def _months(store: Store) -> list[str]:
    """The files of a ledger, the oldest first."""
    return [f"{_FOLDER}/{name}" for name in store.names(_FOLDER) if name.endswith(".jsonl")]


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """The lines that are whole: a power cut may have torn one."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and {"run", "event", "at"} <= found.keys():
            yield found


def _entry(
    run_id: str, begun: Mapping[str, Any], ended: Mapping[str, Any] | None, alerted: Mapping[str, Any] | None
) -> RunEntry:
    alert = SentAlert(_moment(alerted["at"]), tuple(alerted.get("about", ()))) if alerted else None
    began_at, command = _moment(begun["at"]), str(begun.get("command", ""))
    if ended is None:
        holder = Holder.parse({"holder": {}, "process": begun.get("process", {})})
        alive = holder.is_alive if holder else None
        state = "no end known" if alive is None else "running" if alive else "killed"
        return RunEntry(run_id, command, began_at, state)
    code = int(ended.get("exit_code", 1))
    return RunEntry(
        run_id,
        command,
        began_at,
        "ok" if code == 0 else "again later" if code == 75 else "stopped" if code in (130, 143) else "failed",
        _moment(ended["at"]),
        code,
        ended.get("seconds"),
        tuple(ended.get("errors", ())),
        ended.get("result"),
        tuple(ended.get("said", ())),
        alert,
    )


def _text(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
