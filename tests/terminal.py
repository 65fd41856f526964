"""A script run as on a terminal of some width: all three streams are one, and it knows how wide it is."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping

from tests.support import FAST, ROOT


def run_on_terminal(script: str, *arguments: str, env: Mapping[str, str], columns: int = 80) -> tuple[int, str]:
    """The exit code, and all that the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=given | {"TERM": "xterm"} | FAST | dict(env), cwd=ROOT,
    )  # fmt: skip
    os.close(theirs)
    sent = bytearray()
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the last process that had the terminal has ended
            break
        if not part:
            break
        sent += part
    os.close(ours)
    return process.wait(), sent.decode().replace("\r\n", "\n")
