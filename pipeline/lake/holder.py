"""Which run holds a feed, by the record beside its lock, and whether that run still lives.

The kernel frees the lock of a process that dies, so the record is needed only where a lock file was removed by hand,
and to name the run that holds the lock. Whether a process lives can be known on its own machine only.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MACHINE = ("host", "namespace")
_STARTED = 19
"""The place of a process's start among the fields of its status; the first one is its state."""
_ENDED = ("Z", "X")
"""States of a process that has ended; its number stays in use until its parent has waited for it."""


@dataclass(frozen=True)
class Holder:
    """A run that holds or held a feed. `about` is shown to people; `process` identifies its process on this machine.

    `released` says that it released the lock itself, so it was not killed.
    """

    about: Mapping[str, str]
    process: Mapping[str, str]
    released: bool = False

    @classmethod
    def of_this_process(cls, about: Mapping[str, str]) -> Holder:
        return cls(dict(about), _process(os.getpid()))

    @classmethod
    def parse(cls, record: Any) -> Holder | None:
        """The holder that a record names; None for one that cannot be understood."""
        if not isinstance(record, dict):
            return None
        about, process = record.get("holder", record), record.get("process", {})
        if not isinstance(about, dict) or not isinstance(process, dict):
            return None
        return cls(about, process, record.get("released") is True)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "holder": dict(self.about),
            "process": dict(self.process),
            "released": self.released,
        }

    @property
    def is_alive(self) -> bool | None:
        """Whether the process runs; None where that cannot be known, as on another machine or in another container."""
        if self.released:
            return False
        mine = _process(os.getpid())
        if not self.process.get("pid", "").isdigit() or any(self.process.get(key) != mine[key] for key in _MACHINE):
            return None
        if self.process.get("boot") != mine["boot"]:
            return False
        status = _status(self.process["pid"])
        if status:
            return status[0] not in _ENDED and status[_STARTED] == self.process.get("started")
        try:
            os.kill(int(self.process["pid"]), 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return None  # a system without /proc: the number may be another process's by now

    @property
    def since(self) -> dt.datetime | None:
        """When the run began, by its own clock."""
        try:
            moment = dt.datetime.fromisoformat(str(self.about["since"]))
        except (KeyError, ValueError):
            return None
        return moment if moment.tzinfo is not None else None

    def has_ended_for(self, other: Holder) -> bool:
        """Whether this run is over for a later one; one of the same process is: it released the lock before."""
        return self.is_alive is False or self.process == other.process

    def __str__(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.about.items())


def _process(pid: int) -> dict[str, str]:
    """What identifies a process: its number, start and boot, because the number alone is used again."""
    status = _status(str(pid))
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "namespace": namespace,
        "pid": str(pid),
        "started": status[_STARTED] if status else "",
    }


def _status(pid: str) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty where there is no such process, or no /proc."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields if len(fields) > _STARTED else []


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
