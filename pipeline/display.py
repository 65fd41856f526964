"""Progress as a person sees it: a live table on a terminal, one dated line at intervals elsewhere, or nothing.

It is on stderr, and the table is gone from the terminal when the work is done. With `--quiet` nothing is shown.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pipeline import cli
from pipeline.progress import Meter, Progress
from pipeline.text import rfc3339, size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LINE_EVERY_S = 30.0
"""How often there is a line where stderr is no terminal."""
_LOOKS_PER_S = 4


def showing(progress: Progress) -> contextlib.AbstractContextManager[None]:
    """Shows the progress until the block ends."""
    context = click.get_current_context()
    if context.meta.get(cli.QUIET):
        return contextlib.nullcontext()
    if sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_dumb_terminal:
            return _live_table(context, console, progress)
    return _lines(progress)


@contextlib.contextmanager
def _live_table(context: click.Context, console: Console, progress: Progress) -> Iterator[None]:
    """Lines that are printed meanwhile stand above the table, whole: a terminal can break them, a copy does not."""
    from rich.live import Live
    from rich.text import Text

    with Live(
        get_renderable=lambda: table_of(progress),
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


def table_of(progress: Progress) -> Table:
    """A line for each feed that is worked on."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("feed", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("", no_wrap=True)
    for name in ("rows", "rows/s", "size", "time", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for meter in progress.meters():
        rate = f"{meter.rows_per_s:,.0f}" if meter.rows else ""
        table.add_row(
            meter.name,
            meter.doing,
            f"{meter.rows:,}",
            rate,
            size_text(meter.size_bytes) if meter.size_bytes else "",
            duration_text(meter.seconds),
            "" if meter.left_s is None else duration_text(meter.left_s),
        )
    return table


@contextlib.contextmanager
def _lines(progress: Progress) -> Iterator[None]:
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(LINE_EVERY_S):
            if meters := progress.meters():
                click.echo(f"{rfc3339(cli.utc_now())} {'; '.join(map(line_of, meters))}", err=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def line_of(meter: Meter) -> str:
    """`payments: reading 1,234,000 of 5,000,000 rows, 41,133 rows/s, 212.4 MB, 0:30, 1:32 left`."""
    of = f" of {meter.due_rows:,}" if meter.due_rows is not None else ""
    parts = [f"{meter.doing} {meter.rows:,}{of} rows"]
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
