"""Another program, run to its end or killed at its limit, with all that it has started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.printable import printable


@dataclass(frozen=True)
class Ended:
    """How it ended: its exit code, below zero for a signal, what it printed, and what it wrote to stderr."""

    exit_code: int
    printed: bytes
    complaint: bytes

    def __str__(self) -> str:
        last = printable(self.complaint.decode(errors="replace").strip().rpartition("\n")[2], 300)
        return f"ended with {self.exit_code}{f' and said: {last}' if last else ''}"


def run_bounded(words: Sequence[str], limit_s: float, given: bytes = b"") -> Ended:
    """Runs the program without a shell; `given` is its stdin.

    Raises OSError when it cannot be started, subprocess.TimeoutExpired after `limit_s` seconds.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            printed, complaint = process.communicate(given, timeout=limit_s)
        except BaseException:
            os.killpg(process.pid, 9)
            raise
    return Ended(process.returncode, printed, complaint)
