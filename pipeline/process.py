"""The process that runs a command: its streams, its signals, and the rights of what it makes.

Output that cannot be written to stderr is dropped without an error. A result that cannot be written to stdout is an
error, unless its reader closed the pipe, as `head` does: then the rest is dropped, and the command goes on.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from pipeline.errors import OutputLost

_NUDGES, _NUDGE_S = 10, 0.3


class Terminated(BaseException):
    """SIGTERM came; runs unwind as they do for Ctrl-C."""


class _Leaky(io.FileIO):
    """A stream whose output is dropped where it cannot be written."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _Output(io.FileIO):
    """A stream that fails once where it cannot be written: the interpreter writes the rest again when it ends.

    One whose reader has gone does not fail.
    """

    lost = False

    def write(self, data: Any, /) -> int:
        try:
            return len(data) if self.lost else super().write(data)
        except OSError as error:
            self.lost = True
            if error.errno == errno.EPIPE:
                return len(data)
            raise OutputLost(
                f"the result cannot be written to stdout: {os.strerror(error.errno or 0)}",
                "what the command did stands; let stdout go to a place that has room",
            ) from None


def open_streams() -> None:
    """Replaces stdout and stderr by streams that treat failed writes as this module promises."""
    sys.stdout = _text_to(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text_to(_Leaky(2, "w", closefd=False), sys.stderr)


def nobody_reads() -> bool:
    """Whether what is written to stdout is dropped: rows that are only printed need not be computed any more."""
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(file, _Output) and file.lost


def _text_to(file: io.FileIO, before: Any) -> io.TextIOWrapper:
    """A stream in the place of `before`, which is None where the descriptor was closed."""
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, "backslashreplace", line_buffering=True)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Lets SIGTERM raise Terminated as Ctrl-C raises KeyboardInterrupt (see `interrupt`), and both within seconds.

    Python handles signals between two of its own instructions: one that arrives just before a read that blocks would
    wait for the read's end, which on a silent connection is minutes away. So a thread nudges the main thread out of
    its system call.
    """
    previous = signal.signal(signal.SIGTERM, interrupt)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGURG, lambda *_: None)
    threading.Thread(target=_nudge, args=(reader, threading.get_ident()), name="nudge", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGURG, handler)
        writer.close()
        reader.close()
        signal.signal(signal.SIGTERM, previous)


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler for SIGINT and SIGTERM. While a module is imported it waits until that is done, and then raises.

    Some packages turn an exception while they are imported into another one, or show its traceback.
    """
    signalled = KeyboardInterrupt if number == signal.SIGINT else Terminated
    importer = None  # what asked for the import that is under way
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    if importer is None:
        raise signalled

    def raise_there(*_: object) -> NoReturn:
        sys.settrace(None)
        raise signalled

    importer.f_trace = raise_there
    sys.settrace(lambda *_: None)  # other frames are not traced


def _nudge(reader: socket.socket, main_thread: int) -> None:
    with contextlib.suppress(OSError):  # the command has ended before this thread has begun
        if reader.recv(1):
            for _ in range(_NUDGES):
                time.sleep(_NUDGE_S)
                signal.pthread_kill(main_thread, signal.SIGURG)


def mask_of_rights() -> int:
    """What new files and folders of this process lack, for another process; see `os.umask`."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def keep_private(folder_mode: int) -> None:
    """Limits the rights of files and folders that this process creates to `folder_mode`, files never executable."""
    before = os.umask(0o077)
    os.umask(before | 0o777 & ~folder_mode)
