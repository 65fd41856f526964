"""The steps of a demo on the terminal: announce a step, run a script as a person would, query the lake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import duckdb

ROOT = Path(__file__).resolve().parent.parent


def say(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def run(env: Mapping[str, str], script: str, *arguments: str) -> None:
    """Runs a script with its output on the terminal; ends the demo if it fails."""
    click.secho(f"$ python {' '.join([script, *arguments])}", bold=True)
    result = subprocess.run([sys.executable, script, *arguments], cwd=ROOT, env=dict(env), check=False)
    if result.returncode != 0:
        raise SystemExit(f"the demo stops: {script} ended with exit code {result.returncode}")


def query_lake(lake: Path, sql: str) -> None:
    click.echo(sql)
    with duckdb.connect() as connection:
        connection.execute((lake / "views.sql").read_text(encoding="utf-8"))
        click.echo(str(connection.sql(sql)))
