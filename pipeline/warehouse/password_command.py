"""A password that a command prints: cloud databases take tokens for passwords, which are valid for some minutes.

Amazon RDS takes one for 15 minutes, Cloud SQL and Azure take an OAuth access token for about an hour; so the command
runs at each connect and nothing is kept. What it prints is in no message, log or process list.
"""

from __future__ import annotations

import os
import shlex
import subprocess

from pipeline.child_process import run_bounded
from pipeline.errors import PasswordCommandLate, ServerInvalid

_HINT = "run it by hand; it must print the password and a line end, and nothing else"


def password_from(command: str, limit_s: float) -> str:
    """Runs `command`, without a shell, and returns the one line that it prints.

    Raises ServerInvalid when it cannot be run, fails, or prints no password. One that takes longer than `limit_s` is
    killed with what it has started: PasswordCommandLate.
    """
    words = _words(command)
    try:
        ended = run_bounded(words, limit_s)
    except OSError as error:
        raise _refusal(f"{words[0]} cannot be run: {os.strerror(error.errno or 0)}") from None
    except subprocess.TimeoutExpired:
        raise PasswordCommandLate(
            f"MYSQL_PASSWORD_COMMAND: {words[0]} printed nothing for {limit_s:g} s",
            "run it by hand; MYSQL_TIMEOUT_S is its limit",
        ) from None
    if ended.exit_code:
        raise _refusal(f"{words[0]} {ended}")
    return _only_line(words[0], ended.printed)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        raise _refusal("its quotes do not match") from None
    if not words:
        raise _refusal("it is empty")
    return words


def _only_line(name: str, printed: bytes) -> str:
    try:
        lines = printed.decode().splitlines()
    except UnicodeDecodeError:
        raise _refusal(f"{name} printed something that is no UTF-8 text") from None
    if len(lines) != 1 or not lines[0]:
        raise _refusal(f"{name} printed {len(lines)} lines" if lines and lines[0] else f"{name} printed no password")
    return lines[0]


def _refusal(what: str) -> ServerInvalid:
    return ServerInvalid(f"MYSQL_PASSWORD_COMMAND: {what}", _HINT)
