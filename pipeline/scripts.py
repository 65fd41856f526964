"""What all scripts share: one boundary for errors and signals, the common options, the record of a run."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import shlex
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from pipeline import VERSION, cli
from pipeline.display import watched
from pipeline.errors import OutputLost, PipelineError
from pipeline.journal import Record, debug_lines, keep, write_log_to
from pipeline.printable import printable
from pipeline.process import Terminated, interrupt, open_streams, signals_raise
from pipeline.usage import Described, DescribedGroup

if TYPE_CHECKING:
    from pipeline.lake.lake import Lake

_P = ParamSpec("_P")
_R = TypeVar("_R")


def run(command: click.Command) -> None:
    """Runs a script and ends the process, without a traceback for a closed terminal or Ctrl-C."""
    try:
        sys.exit(_exit_code(command))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: what is left is a moment


def _exit_code(command: click.Command) -> Any:
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
        cli.say_error(error)
        code = error.exit_code
    return code


def boundary(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Prints a PipelineError as one sentence and a hint, and exits with its code.

    Ctrl-C exits 130 and SIGTERM 143, after locks and connections are released. Any other exception is a fault of this
    program and shows its traceback. The command's record (see `keep_record`) gets its exit code in each case.
    """

    @functools.wraps(command)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            with signals_raise():
                result = command(*args, **kwargs)
        except PipelineError as error:
            cli.say_error(error)
            _end(error.exit_code)
        except (KeyboardInterrupt, Terminated) as signalled:
            interrupted = isinstance(signalled, KeyboardInterrupt)
            word = "interrupted" if interrupted else "terminated"
            record = cli.current_record()
            stays = ": what was committed stays, the next run goes on from there" if record and record.commits else ""
            click.echo(f"{word}{stays}", err=True)
            keep(logging.WARNING, word)
            _end(130 if interrupted else 143)
        except SystemExit as end:
            _end(end.code if isinstance(end.code, int) else end.code is not None)
        except (click.ClickException, click.exceptions.Exit) as error:
            cli.ended(error.exit_code)
            raise
        except click.Abort:
            cli.ended(1)
            raise
        except BaseException as error:
            keep(logging.ERROR, "a fault of this program", trace=True)
            cli.keep_error(*_said_of(error))
            cli.ended(1)
            raise
        cli.ended(0)
        return result

    return guarded


def _said_of(fault: BaseException) -> tuple[str, str]:
    """Message and hint; a package that is missing is named, as `pipeline.start` does on stderr."""
    if isinstance(fault, ImportError) and fault.name:
        return f"the package {fault.name.split('.')[0]} is missing or cannot be used", "python test_setup.py"
    return f"a fault of this program ({type(fault).__name__})", "its traceback is in the log"


def _end(exit_code: int) -> NoReturn:
    cli.ended(exit_code)
    sys.exit(exit_code)


class Command(Described):
    """A script with a single command, with the options that all scripts have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **_HELP | kwargs)
        _add_common_options(self)

    def invoke(self, ctx: click.Context) -> Any:
        with _verbose(ctx), watched(ctx):
            return boundary(super().invoke)(ctx)


class Subcommand(Described):
    """A command of a group."""

    def invoke(self, ctx: click.Context) -> Any:
        with _verbose(ctx):
            return super().invoke(ctx)


class Group(DescribedGroup):
    """A script with several commands; they, and the group's own function, run within the boundary.

    The options that all scripts have may stand before or after the command's name.
    """

    command_class = Subcommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **_HELP | kwargs)
        _add_common_options(self)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        _add_common_options(cmd)
        cmd.context_settings = _HELP["context_settings"] | cmd.context_settings
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        with _verbose(ctx), watched(ctx):
            return boundary(super().invoke)(ctx)


def command(*args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Subcommand]:
    """Decorates the function of a command that is added to a group."""
    return click.command(*args, cls=Subcommand, **kwargs)


def _verbose(context: click.Context) -> contextlib.AbstractContextManager[None]:
    """Shows debug lines while a command is carried out with --verbose, which may stand before or after its name.

    Nothing is left behind where further words of the command line are refused: only here a handler is made.
    """
    if not context.meta.get(_VERBOSE) or context.meta.get(_SHOWN):
        return contextlib.nullcontext()
    context.meta[_SHOWN] = True
    return debug_lines(functools.partial(cli.on_stderr, context))


_HELP: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}}
_LOG_FORMAT, _VERBOSE, _SHOWN = "pipeline.log_format", "pipeline.verbose", "pipeline.debug_lines_are_shown"


def _remember(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def remember(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            context.meta[key] = value

    return remember


def _add_common_options(command: click.Command) -> None:
    """Adds the options that all scripts have, except a name that the command uses itself (--version of an export)."""
    own = {name for parameter in command.params for name in parameter.opts}
    command.params += [option for option in _common_options() if own.isdisjoint(option.opts)]


def _common_options() -> list[click.Option]:
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_remember(cli.QUIET),
            help="No progress on stderr: results, warnings and errors only.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_remember(_VERBOSE),
            help="Show on stderr, and log, each request, statement and commit.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            expose_value=False,
            callback=_remember(_LOG_FORMAT),
            help="Of the log's lines; default: LAKE_LOG_FORMAT.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version.",
        ),
    ]


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(VERSION)
        context.exit()


def keep_record(
    lake: Lake,
    script: str,
    now: dt.datetime,
    log_format: str,
    open_log: Callable[[], logging.Handler] | None = None,
    reads_only: bool = False,
) -> str:
    """Starts the command's log, in the lake or by `open_log`, and its entry in the lake's ledger of runs.

    Returns the run's id. A log or an entry that cannot be written is a warning; the command goes on. Raises
    LakeNotWritable where nothing in the lake can be written, unless the command `reads_only`.
    """
    context, run_id = click.get_current_context(), cli.new_run_id(now)
    try:
        handler = open_log() if open_log is not None else lake.open_log(script, now)
        write_log_to(handler, run_id, context.meta.get(_LOG_FORMAT, log_format) == "json")
    except PipelineError as error:
        if not reads_only and not lake.space().is_writable:
            raise
        cli.warn(f"this run keeps no log: {error.message}")
    commits = not reads_only or open_log is not None  # a sync reads the lake, and commits in the warehouse
    record = Record(run_id, _command_line(context, script), lake.runs, commits)
    context.meta[cli.RECORD] = record
    record.begin(now, cli.warn)
    return run_id


def _command_line(context: click.Context, script: str) -> str:
    """The command line, to be typed again; without secrets, and without options of other commands."""
    contexts = [context]
    while contexts[0].parent is not None:
        contexts.insert(0, contexts[0].parent)
    words = [f"{script}.py"]
    for one in contexts:
        words += [one.info_name or ""] if one is not contexts[0] else []
        for parameter in one.command.params:
            if one.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
                words += _words(parameter, one.params.get(parameter.name or ""))
    return printable(shlex.join(words))


def _words(parameter: click.Parameter, value: Any) -> list[str]:
    values = [_word(one) for one in (value if isinstance(value, tuple) else (value,))]
    if value is None or isinstance(parameter, click.Argument):
        return [] if value is None else values
    if isinstance(parameter, click.Option) and parameter.hide_input:
        return []
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [parameter.opts[-1]] if value else []
    return [word for one in values for word in (parameter.opts[-1], one)]


def _word(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
