#!/usr/bin/env python
"""Is this machine ready for the main job? One line a check, and a hint where something is missing.

Changes nothing: no file, no row; where the lake is on an object store, one object is written and deleted there. The
exit code says whether export and sync would run.
"""

from __future__ import annotations

if __name__ == "__main__":  # before anything that may be missing is imported
    from pipeline import start

    start.guard("python -m pip install --force-reinstall -r requirements.txt -c requirements.lock")
    import sys
    from pathlib import Path

    from pipeline import prerequisites

    prerequisites.refuse(Path(__file__).resolve().parent, sys.argv[1:])

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pipeline import cli, options, scripts
from pipeline.prerequisites import Check, check_packages, check_python, lines_of, report

if TYPE_CHECKING:
    from data_lake_config import Settings

__test__ = False  # a command, whatever its name makes test runners think


def run_checks(with_mysql: bool) -> Iterator[Check]:
    """Every check, in the order in which a person would fix the problems."""
    from data_lake_config import PROJECT_ROOT, load_settings
    from pipeline import readiness
    from pipeline.errors import PipelineError

    yield check_python()
    yield from check_packages((PROJECT_ROOT / "requirements.txt").read_text(encoding="utf-8"))
    warnings: list[str] = []
    try:
        settings = load_settings(warnings.append)
    except PipelineError as error:
        yield Check("settings", "failed", error.message, error.hint)
        return
    for sentence in warnings:
        yield Check("settings", "warning", sentence, "python data_lake_config.py lists all settings")
    try:
        lake = settings.lake(cli.tell)
    except PipelineError as error:
        yield Check("lake", "failed", error.message, error.hint)
        return
    yield readiness.check_lake_root(lake)
    yield readiness.check_disk(lake)
    writes = list(readiness.check_puts(lake, f"probe-{cli.new_run_id(cli.utc_now())}"))
    yield from writes
    if any(check.state == "failed" for check in writes):
        return  # the lake's feeds cannot be read either
    yield from _check_kafka(settings)
    if settings.export_engine == "spark":
        from pipeline.export.spark import Spark

        yield readiness.guarded("spark", lambda: readiness.check_spark(Spark()))
    yield from readiness.check_sources("ksqldb", settings.sources, lake)
    if with_mysql:
        yield from readiness.check_mysql(settings.mysql_server(), lake, PROJECT_ROOT / "sql")


def _check_kafka(settings: Settings) -> Iterator[Check]:
    from pipeline.errors import PipelineError

    try:
        brokers = settings.kafka_connection()
    except PipelineError as error:
        yield Check("kafka", "failed", error.message, error.hint)
        return
    if brokers is not None:
        from pipeline.kafka.checks import check_kafka

        yield from check_kafka(brokers, settings.schema_registry())


@click.command(cls=scripts.Command, examples=["test_setup.py", "test_setup.py --no-mysql"])
@click.option("--no-mysql", is_flag=True, help="Leave out the warehouse.")
@options.json_output
def main(no_mysql: bool, json_output: bool) -> None:
    """Check whether the main job would run here. Exit codes: 0 yes (warnings allowed), 1 no."""
    checks = []
    for check in run_checks(not no_mysql):
        checks.append(check)
        if not json_output:
            click.echo(lines_of(check), nl=False)
    whole = report(checks, json_output)
    click.echo(whole if json_output else whole.splitlines()[-1], nl=not json_output)
    raise SystemExit(1 if any(check.state == "failed" for check in checks) else 0)


if __name__ == "__main__":
    scripts.run(main)
