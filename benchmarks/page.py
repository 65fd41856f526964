"""docs/performance.md: each command writes its own figures there, between two marks that name it."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import version
from pathlib import Path

import click

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
_END = "<!-- end of figures -->"


def write_figures(command: str, figures: str) -> None:
    """Replaces what `make command` has written before."""
    start = f"<!-- figures of {command}: written by it -->"
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(start)
    assert mark, f"{PAGE.name} has no place for {command}"
    PAGE.write_text(f"{before}{start}\n\n{figures}\n\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")


def show_figures(command: str, figures: str, is_full: bool) -> None:
    """Prints the figures of `make command`; those of a full run are written too."""
    click.echo(f"\n{figures}")
    if is_full:
        write_figures(command, figures)
    else:
        click.echo(f"\n{PAGE.name} was left as it is: that page takes full runs only.")


def head(command: str, what: str, rounds: int, seed: int, packages: tuple[str, ...], day: dt.date, load: float) -> str:
    """What is needed to repeat the run; `load` is the machine's load average before it."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{day}, `{command}`, {what}, seed {seed}, rounds: {rounds}, Python {platform.python_version()}, {versions},"
        f" {os.cpu_count()} cores with a load of {load:.1f} before the run."
    )
