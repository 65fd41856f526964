"""What the five scripts share at the edge: one boundary for errors, one way to tell a story, signals, run names."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import functools
import io
import json
import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from pipeline.errors import OutputLost, PipelineError, WrongUsage

_P = ParamSpec("_P")
_R = TypeVar("_R")
_NUDGES, _NUDGE_S = 10, 0.3
log = logging.getLogger("pipeline")


class Terminated(BaseException):
    """SIGTERM came; runs unwind as they do for Ctrl-C."""


def run(command: click.Command) -> None:
    """Runs a script and ends the process, for good: neither its terminal nor Ctrl-C can make a traceback of it.

    What cannot be written to stderr is left out, and stops nothing. A result that cannot be written to stdout is an
    error, unless its reader went away, as `head` does.
    """
    sys.excepthook = sys.__excepthook__
    try:
        sys.stdout = _text_to(_Output(1, "w", closefd=False), sys.stdout)
        sys.stderr = _text_to(_Leaky(2, "w", closefd=False), sys.stderr)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort as error:
        if isinstance(error.__cause__, EOFError):
            click.echo("error: nothing answers the question", err=True)
        code = 1 if isinstance(error.__cause__, EOFError) else 130
    except KeyboardInterrupt:
        code = 130
    except OutputLost as error:
        say_error(error)
        code = error.exit_code
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: what is left is a moment
    sys.exit(code)


class _Leaky(io.FileIO):
    """What cannot be written is left out."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _Output(io.FileIO):
    """What cannot be written is an error, once: the interpreter writes what is left when it ends."""

    lost = False

    def write(self, data: Any, /) -> int:
        try:
            return len(data) if self.lost else super().write(data)
        except OSError as error:
            self.lost = True
            if error.errno == errno.EPIPE:
                raise SystemExit(1) from None
            raise OutputLost(
                f"the result cannot be written to stdout: {os.strerror(error.errno or 0)}",
                "what the command did stands; let stdout go to a place that has room",
            ) from None


def _text_to(file: io.FileIO, before: Any) -> io.TextIOWrapper:
    """A stream in the place of `before`, which is None where the descriptor was closed."""
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, "backslashreplace", line_buffering=True)


def boundary(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Shows an error that a person is meant to read as one sentence and a hint, and exits with its code.

    Ctrl-C exits 130 and SIGTERM 143, after what was held has been let go. Anything else is a fault of ours and shows
    its traceback.
    """

    @functools.wraps(command)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        previous = signal.signal(signal.SIGTERM, _terminate)
        try:
            with _signals_are_noticed():
                return command(*args, **kwargs)
        except PipelineError as error:
            say_error(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted: what was committed stays, the next run goes on from there", err=True)
            sys.exit(130)
        except Terminated:
            click.echo("terminated: what was committed stays, the next run goes on from there", err=True)
            sys.exit(143)
        finally:
            signal.signal(signal.SIGTERM, previous)

    return guarded


def _terminate(*_: object) -> None:
    raise Terminated


@contextlib.contextmanager
def _signals_are_noticed() -> Iterator[None]:
    """Nudges the main thread out of its system call after a signal.

    Python handles signals between two of its own instructions: one that arrives just before a read that blocks would
    wait for the read's end, which on a silent connection is minutes away.
    """
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


def _nudge(reader: socket.socket, main_thread: int) -> None:
    with contextlib.suppress(OSError):  # the command has ended before this thread has begun
        if reader.recv(1):
            for _ in range(_NUDGES):
                time.sleep(_NUDGE_S)
                signal.pthread_kill(main_thread, signal.SIGURG)


def say_error(error: PipelineError) -> None:
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    log.debug("error: %s", error.message)


def tell(text: str) -> None:
    """A line of progress: on stderr, so that stdout holds results only, and in the log."""
    click.echo(text, err=True)
    log.debug("%s", text)


def say(text: str) -> None:
    """A result: on stdout, and in the log where the command keeps one."""
    click.echo(text)
    log.debug("%s", text)


def warn(text: str) -> None:
    """What a person should know although the command goes on; a command says it once."""
    context = click.get_current_context(silent=True)
    said: list[str] = context.meta.setdefault("pipeline.warned", []) if context else []
    if text not in said:
        said.append(text)
        tell(f"warning: {text}")


def keep_log(folder: Path, script: str) -> None:
    """As `write_log_to`; a command whose log cannot be written does its work without."""
    try:
        write_log_to(folder, script)
    except OSError as error:
        tell(f"this run keeps no log: {folder}: {os.strerror(error.errno or 0)}")


def write_log_to(folder: Path, script: str) -> None:
    """Appends what `tell` and `say_error` say to `<folder>/<script>.log`, with the time and this process's id.

    Raises OSError where the log cannot be opened. A line that cannot be written later, on a full disk, is left out:
    the same line is on stderr.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logging.raiseExceptions = False
    handler = logging.FileHandler(folder / f"{script}.log", encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(process)d %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = lambda seconds: dt.datetime.fromtimestamp(seconds or 0, dt.UTC).timetuple()
    handler.setFormatter(formatter)
    for old in log.handlers[:]:
        log.removeHandler(old)
        old.close()
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False


class Seconds(click.FloatRange):
    """A time that passes within a month: neither endless nor no number."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, max=30 * 86_400, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


def hand_on_options(context: click.Context, shared: Collection[str] = ()) -> None:
    """Hands options that were given before the subcommand on to it: none is ignored.

    `shared` are those of the group that count for each of its commands as they are. Raises WrongUsage for an option
    that the subcommand does not have.
    """
    assert isinstance(context.command, click.Group) and context.invoked_subcommand is not None
    name = context.invoked_subcommand
    known = {parameter.name for parameter in context.command.commands[name].params}
    handed = {}
    for parameter in context.command.params:
        field = parameter.name or ""
        if field in shared or context.get_parameter_source(field) is not ParameterSource.COMMANDLINE:
            continue
        if field not in known:
            raise WrongUsage(f"{parameter.opts[-1]} does not go with the command {name}", "leave it out")
        handed[field] = context.params[field]
    context.default_map = {**(context.default_map or {}), name: handed}


def show_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False))


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def new_run_id(now: dt.datetime) -> str:
    """A name that no other run has, and that sorts by time."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def holder(script: str, now: dt.datetime) -> dict[str, str]:
    """Who holds a lock, for whoever comes second."""
    return {
        "command": script,
        "pid": str(os.getpid()),
        "host": socket.gethostname(),
        "since": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
