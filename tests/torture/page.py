"""The table of docs/reliability.md: one row a figure, each with the run that it comes from."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import version
from pathlib import Path

from tests.torture.figures import Figure

_START, _END = "<!-- figures: written by the command -->", "<!-- end of figures -->"
_HEAD = "| # | experiment | tried | wrong | details | run |\n|---|---|---|---|---|---|"
_PACKAGES = ("deltalake", "pyarrow", "duckdb", "mysql-connector-python")


def as_row(figure: Figure, full: bool, seed: int, day: dt.date) -> str:
    wrong = ", ".join(f"{count} {what}" for what, count in sorted(figure.wrong.items()))
    run = f"{day}, {'full' if full else 'small'}, seed {seed}, {figure.seconds:,.0f} s"
    return (
        f"| {figure.name} | {figure.experiment} | {figure.tried:,} {figure.unit} | {wrong} | {figure.details} | {run} |"
    )


def _place(name: str) -> tuple[int, str]:
    """A figure's place in the table: F1, F1-S3, F2."""
    number, _, where = name[1:].partition("-")
    return int(number), where


def write_row(page: Path, figure: Figure, full: bool, seed: int, day: dt.date) -> None:
    """Puts a figure's row into the page, in the place of its former one; the others stay."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_START)
    table, _, after = rest.partition(_END)
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| F")}
    rows[figure.name] = as_row(figure, full, seed, day)
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    versions = f"Python {platform.python_version()}, {packages}, {os.cpu_count()} cores."
    lines = "\n".join([versions, "", _HEAD, *(rows[name] for name in sorted(rows, key=_place))])
    page.write_text(f"{before}{_START}\n\n{lines}\n\n{_END}{after}", encoding="utf-8")
