"""What the scripts share at the edge: one boundary for errors, options, progress and logs, the clock and run names.

A script starts within a moment: its module, this one and click are all that is imported before a command runs. What a
command does is imported inside of its function.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
import math
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from pipeline.errors import OutputLost, PipelineError, WrongUsage
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


json_option = click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")


def show(as_json: bool, data: Any, lines: Sequence[str]) -> None:
    """A result on stdout, in the form that was asked for; the log has it as lines."""
    if as_json:
        show_json(data)
    else:
        click.echo("\n".join(lines))
    for line in lines:
        log.debug("%s", line)


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
