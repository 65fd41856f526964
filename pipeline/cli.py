"""What the scripts share: output on the terminal, the clock, the names of runs.

A script starts within a moment: its module, this one and click are all that is imported before a command runs. What a
command does is imported inside of its function.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import click
from click.globals import pop_context, push_context

from pipeline.errors import OutputNotWritten, PipelineError, WrongUsage, common_exit_code
from pipeline.journal import Record, keep

QUIET, RECORD = "pipeline.quiet", "pipeline.record"
"""Keys of `click.Context.meta`, which all parts of a command share: whether it is quiet, and its record."""
ON_STDERR = "pipeline.on_stderr"
"""The key of what shows a line on stderr while a live table of progress is there; see `pipeline.display`."""
_AT_END, _ERRORS = "pipeline.at_end", "pipeline.errors"


def _on_stderr(text: str) -> None:
    on_stderr(click.get_current_context(silent=True), text)


def on_stderr(context: click.Context | None, text: str) -> None:
    """A line on stderr: above the table of progress, where that is shown."""
    show: Callable[[str], None] | None = context.meta.get(ON_STDERR) if context else None
    if show is not None:
        show(text)
    else:
        click.echo(text, err=True)


def say_error(error: PipelineError) -> None:
    _on_stderr(f"error: {error.message}")
    if error.hint:
        _on_stderr(f"hint: {error.hint}")
    keep(logging.ERROR, f"{error.message} (hint: {error.hint})" if error.hint else error.message)
    keep_error(error.message, error.hint)


def keep_error(message: str, hint: str) -> None:
    """Adds an error to what the command reported, and to its record."""
    said = {"message": message, "hint": hint}
    if (context := click.get_current_context(silent=True)) is not None:
        context.meta.setdefault(_ERRORS, []).append(said)
    if (record := current_record()) is not None:
        record.errors.append(said)


def said_errors() -> list[dict[str, str]]:
    """The errors that this command has reported, also before it had a record."""
    context = click.get_current_context(silent=True)
    return list(context.meta.get(_ERRORS, ())) if context else []


def at_end(context: click.Context, act: Callable[[int], None]) -> None:
    """Has `act` called with the command's exit code when its end is recorded; it must not raise."""
    context.meta.setdefault(_AT_END, []).append(act)


def ended(exit_code: int) -> None:
    """Records how the command ended, then does what is to be done at its end."""
    context = click.get_current_context(silent=True)
    if (record := current_record()) is not None:
        record.end(exit_code, utc_now())
    for act in context.meta.pop(_AT_END, ()) if context else ():
        act(exit_code)


def end_with(errors: Iterable[PipelineError], wrong: bool = False) -> NoReturn:
    """Prints each error once and exits with the code that they have in common, or 1; without errors with 0.

    With `wrong` the code is 1 in any case: a person must act.
    """
    said = {error.message: error for error in errors}.values()
    for error in said:
        say_error(error)
    raise SystemExit(1 if wrong else common_exit_code(said))


def tell(text: str) -> None:
    """A line of progress: on stderr, so that stdout holds results only, and in the log. Not shown with `--quiet`."""
    context = click.get_current_context(silent=True)
    if context is None or not context.meta.get(QUIET):
        _on_stderr(text)
    keep(logging.INFO, text)


def tell_from_threads() -> Callable[[str], None]:
    """`tell` for the other threads of this command, in which click has no current context."""
    context = click.get_current_context()

    def told(text: str) -> None:
        push_context(context)
        try:
            tell(text)
        finally:
            pop_context()

    return told


def say(text: str) -> None:
    """A result: on stdout, and in the log where the command keeps one."""
    click.echo(text)
    keep(logging.INFO, text)
    if (record := current_record()) is not None:
        record.said.append(text)


def warn(text: str) -> None:
    """A warning on stderr and in the log, once in a command; the command goes on."""
    context = click.get_current_context(silent=True)
    said: list[str] = context.meta.setdefault("pipeline.warned", []) if context else []
    if text not in said:
        said.append(text)
        _on_stderr(f"warning: {text}")
        keep(logging.WARNING, text)


def current_record() -> Record | None:
    """The record of the running command."""
    context = click.get_current_context(silent=True)
    return context.meta.get(RECORD) if context else None


def want_yes(yes: bool, message: str) -> None:
    """Raises WrongUsage unless `yes`, for what cannot be undone."""
    if not yes:
        raise WrongUsage(message, "add --yes to do it, or --dry-run to look")


def show(as_json: bool, data: Any, lines: Sequence[str]) -> None:
    """A result on stdout, in the form that was asked for; the log has it as lines."""
    if as_json:
        show_json(data)
    elif lines:
        click.echo("\n".join(lines))
    for line in lines:
        keep(logging.INFO, line)
    if (record := current_record()) is not None:
        record.result = data


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[IO[str]]:
    """A file for a result, or stdout for `-`. Raises OutputNotWritten.

    Whoever reads a file of that name meanwhile sees the old one whole, and after that the new one.
    """
    try:
        is_plain = path.is_file() or not path.exists()  # no pipe, and no device
        is_plain = is_plain and os.access(path.parent, os.W_OK)
        with click.open_file(str(path), "w", encoding="utf-8", atomic=is_plain) as file:
            yield file
    except OSError as error:
        raise OutputNotWritten(f"{path} could not be written: {error.strerror}", "give another file") from None


def show_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False))


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def new_run_id(now: dt.datetime) -> str:
    """A name that no other run has, and that sorts by time: three of its last eight digits are milliseconds."""
    return f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond // 1000:03x}{secrets.randbits(20):05x}"


def holder(script: str, now: dt.datetime) -> dict[str, str]:
    """What a second run is shown when this one holds a lock."""
    return {
        "command": script,
        "pid": str(os.getpid()),
        "host": socket.gethostname(),
        "since": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
