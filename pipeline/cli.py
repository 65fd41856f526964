"""What the scripts share at the edge: one boundary for errors, options, progress and logs, the clock and run names.

A script starts within a moment: its module, this one and click are all that is imported before a command runs. What a
command does is imported inside of its function.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, ParamSpec, TypeVar

import click

from pipeline.errors import OutputLost, OutputNotWritten, PipelineError, WrongUsage, common_exit_code
from pipeline.process import Terminated, interrupt, open_streams, signals_raise

_P = ParamSpec("_P")
_R = TypeVar("_R")
log = logging.getLogger("pipeline")


def run(command: click.Command) -> None:
    """Runs a script and ends the process, for good: neither its terminal nor Ctrl-C can make a traceback of it."""
    try:
        open_streams()
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, interrupt)
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


def boundary(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Shows an error that a person is meant to read as one sentence and a hint, and exits with its code.

    Ctrl-C exits 130 and SIGTERM 143, after what was held has been let go. Anything else is a fault of ours and shows
    its traceback.
    """

    @functools.wraps(command)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            with signals_raise():
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

    return guarded


class Commands(click.Group):
    """A group that has all of its commands, and what it does itself, within the boundary."""

    def invoke(self, ctx: click.Context) -> Any:
        return boundary(super().invoke)(ctx)


def say_error(error: PipelineError) -> None:
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    log.debug("error: %s", error.message)


def end_with(errors: Iterable[PipelineError], wrong: bool = False) -> NoReturn:
    """Says each error once and exits with the code that they have in common, or 1; with 0 where there is none.

    With `wrong` a person must act, whatever the errors are.
    """
    said = {error.message: error for error in errors}.values()
    for error in said:
        say_error(error)
    raise SystemExit(1 if wrong else common_exit_code(said))


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


def keep_log(opened: Callable[[str], logging.Handler], script: str) -> None:
    """As `write_log_to`; a command whose log cannot be opened does its work without."""
    try:
        write_log_to(opened(script))
    except PipelineError as error:
        tell(f"this run keeps no log: {error.message}")


def write_log_to(handler: logging.Handler) -> None:
    """Has `tell` and `say_error` also write to a log, with the time and this process's id.

    A line that cannot be written, on a full disk, is left out: the same line is on stderr.
    """
    logging.raiseExceptions = False
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(process)d %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = lambda seconds: dt.datetime.fromtimestamp(seconds or 0, dt.UTC).timetuple()
    handler.setFormatter(formatter)
    for old in log.handlers[:]:
        log.removeHandler(old)
        old.close()
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False


def want_yes(yes: bool, message: str) -> None:
    """Raises WrongUsage unless a person says that what cannot be undone is meant."""
    if not yes:
        raise WrongUsage(message, "add --yes to do it, or --dry-run to look")


def show(as_json: bool, data: Any, lines: Sequence[str]) -> None:
    """A result on stdout, in the form that was asked for; the log has it as lines."""
    if as_json:
        show_json(data)
    elif lines:
        click.echo("\n".join(lines))
    for line in lines:
        log.debug("%s", line)


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[IO[str]]:
    """A file for a result, or stdout for `-`. Raises OutputNotWritten."""
    try:
        with click.open_file(str(path), "w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise OutputNotWritten(f"{path} could not be written: {error.strerror}", "give another file") from None


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
