"""Progress as a person sees it: a live table on a terminal, one dated line at intervals elsewhere, or nothing.

It is on stderr, and the table is gone from the terminal when the work is done. A command that counts nothing says at
the same intervals that it works, on a terminal too: nobody waits in silence. With `--quiet` nothing is shown.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from pipeline import cli
from pipeline.progress import Meter, Progress
from pipeline.text import rfc3339, size_text

if TYPE_CHECKING:
    from rich.table import Table

LINE_EVERY_S = 30.0
"""How often there is a line where no live table is."""
_LOOKS_PER_S = 4
_PROGRESS, _WHOLE = "pipeline.progress", "pipeline.whole_command"


@contextlib.contextmanager
def watched(context: click.Context) -> Iterator[None]:
    """Says at intervals what the command is doing, until the block ends."""
    ended, context.meta[_WHOLE] = threading.Event(), Meter("", "working")

    def tell() -> None:
        while not ended.wait(LINE_EVERY_S):
            if not (context.meta.get(cli.QUIET) or cli.ON_STDERR in context.meta):
                click.echo(f"{rfc3339(cli.utc_now())} {'; '.join(map(line_of, _meters(context)))}", err=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _meters(context: click.Context) -> Sequence[Meter]:
    """What is counted now, or the command as a whole."""
    progress: Progress | None = context.meta.get(_PROGRESS)
    if progress is not None and (counted := progress.meters()):
        return counted
    whole, script = context.meta[_WHOLE], context.find_root()
    whole.name = " ".join(word for word in (script.info_name, script.invoked_subcommand) if word)
    return [whole]


@contextlib.contextmanager
def showing(progress: Progress) -> Iterator[None]:
    """Shows the progress until the block ends."""
    context = click.get_current_context()
    is_live = sys.stderr.isatty() and not context.meta.get(cli.QUIET)
    context.meta[_PROGRESS] = progress
    try:
        with _live_table(context) if is_live else contextlib.nullcontext():
            yield
    finally:
        del context.meta[_PROGRESS]


@contextlib.contextmanager
def working(name: str, doing: str) -> Iterator[Meter]:
    """Shows one piece of work, which counts with the meter, until the block ends."""
    progress = Progress()
    with showing(progress), progress.at(name, doing) as meter:
        yield meter


@contextlib.contextmanager
def _live_table(context: click.Context) -> Iterator[None]:
    """Lines that are printed meanwhile stand above the table, whole: a terminal can break them, a copy does not.

    A terminal that can do nothing has none.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    if console.is_dumb_terminal:
        yield
        return
    with Live(
        get_renderable=lambda: table_of(_meters(context)),
        console=console,
        refresh_per_second=_LOOKS_PER_S,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        context.meta[cli.ON_STDERR] = lambda text: console.print(Text(text), soft_wrap=True)
        try:
            yield
        finally:
            del context.meta[cli.ON_STDERR]


def table_of(meters: Sequence[Meter]) -> Table:
    """A line for each feed that is worked on."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("feed", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("", no_wrap=True)
    for name in ("rows", "rows/s", "size", "time", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for meter in meters:
        table.add_row(
            meter.name,
            meter.doing,
            f"{meter.rows:,}" if meter.rows else "",
            f"{meter.rows_per_s:,.0f}" if meter.rows else "",
            size_text(meter.size_bytes) if meter.size_bytes else "",
            duration_text(meter.seconds),
            "" if meter.left_s is None else duration_text(meter.left_s),
        )
    return table


def line_of(meter: Meter) -> str:
    """`payments: reading 1,234,000 of 5,000,000 rows, 41,133 rows/s, 212.4 MB, 0:30, 1:32 left`."""
    of = f" of {meter.due_rows:,}" if meter.due_rows is not None else ""
    parts = [f"{meter.doing} {meter.rows:,}{of} rows" if meter.rows or of else meter.doing]
    parts += [f"{meter.rows_per_s:,.0f} rows/s"] if meter.rows else []
    due = f" of {size_text(meter.due_bytes)}" if meter.due_bytes is not None else ""
    parts += [f"{size_text(meter.size_bytes)}{due}"] if meter.size_bytes or due else []
    parts += [duration_text(meter.seconds)]
    parts += [f"{duration_text(meter.left_s)} left"] if meter.left_s is not None else []
    return f"{meter.name}: {', '.join(parts)}"


def duration_text(seconds: float) -> str:
    """`0:30`, `1:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
