"""An alert, and the command that takes it. Imports nothing that may be missing: a missing package is alerted of too."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.child_process import run_bounded
from pipeline.errors import NoticeNotSent
from pipeline.findings import Finding

LIMIT_S = 60.0
INTERRUPTED, MAY_PASS = 130, (75, 143)
"""Exit codes of a run that somebody ended, and of runs whose trouble the next one may solve."""


@dataclass(frozen=True)
class Alert:
    """What a person is alerted of. `about` names what is wrong, by feed and kind; nothing where all is well again."""

    about: tuple[str, ...]
    problems: tuple[Finding, ...] = ()

    @property
    def is_wrong(self) -> bool:
        return bool(self.about)


def without_health(exit_code: int) -> Alert | None:
    """The alert of a run after which the lake cannot be looked at."""
    return None if exit_code in (0, INTERRUPTED, *MAY_PASS) else Alert(("the run failed",))


def send(command: str, summary: Mapping[str, Any], limit_s: float = LIMIT_S) -> None:
    """Runs the command, without a shell, with the summary as JSON on its stdin.

    Raises NoticeNotSent when it cannot be run, fails, or is killed after `limit_s` seconds.
    """
    try:
        words = shlex.split(command)
        ended = run_bounded(words, limit_s, json.dumps(summary, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, IndexError):
        raise _failure("it is no command line") from None
    except OSError as error:
        raise _failure(f"{words[0]} cannot be run: {os.strerror(error.errno or 0)}") from None
    except subprocess.TimeoutExpired:
        raise _failure(f"{words[0]} took longer than {limit_s:g} s and was killed") from None
    if ended.exit_code:
        raise _failure(f"{words[0]} {ended}")


def _failure(what: str) -> NoticeNotSent:
    return NoticeNotSent(f"the alert command failed: {what}", "run it by hand with a line of JSON on its stdin")
