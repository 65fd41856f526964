"""Alerts a person about a night, by a command of their own."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import socket
from typing import TYPE_CHECKING, Any

import click

from pipeline import cli
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.alert import Alert
    from pipeline.lake.lake import Lake


def _register(context: click.Context, _: click.Parameter, command: str | None) -> None:
    cli.at_end(context, functools.partial(_alert, context, command))


option = click.option(
    "--alert-command",
    metavar="CMD",
    expose_value=False,
    callback=_register,
    help="With --all: gets a summary as JSON when a person must act (ALERT_COMMAND).",
)


def _alert(context: click.Context, given: str | None, exit_code: int) -> None:
    """Whatever fails here is a warning; the run's result stands."""
    from pipeline.faults import collected

    errors: list[PipelineError] = []
    if context.params.get("everything") and not context.params.get("dry_run"):
        with collected("the alert", errors):
            from data_lake_config import alert_command

            if command := given or alert_command():
                _alert_by(command, exit_code)
    for error in errors:
        cli.warn(f"{error.message}; {error.hint}")


def _alert_by(command: str, exit_code: int) -> None:
    from pipeline.alert import send, without_health
    from pipeline.lake.runs import SentAlert
    from pipeline.report.alert import alert_json

    now, record, lake = cli.utc_now(), cli.current_record(), None
    try:
        lake, alert = _look(exit_code, now)
    except PipelineError:
        alert = without_health(exit_code)
    if alert is None:
        return
    place = {
        "host": socket.gethostname(),
        "lake": str(lake) if lake else "",
        "run": record.run_id if record else "",
        "command": record.command if record else "export_to_data_lake.py",
    }
    errors, result = cli.said_errors(), record.result if record else None
    send(command, alert_json(alert, now, place, exit_code, errors, result))
    if lake is not None and record is not None:
        with contextlib.suppress(PipelineError):  # then the next run sends it again: better twice than never
            lake.runs.alerted(record.run_id, SentAlert(now, alert.about))


def _look(exit_code: int, now: dt.datetime) -> tuple[Lake, Alert | None]:
    from data_lake_config import load_settings
    from pipeline.alert import due_alert
    from pipeline.health import look_at

    settings = load_settings(_quiet)
    lake = settings.lake(_quiet)
    health = look_at(lake, *lake.feeds.choose(), now, settings.health_min_free_mb * 10**6)
    patience = dt.timedelta(hours=settings.alert_after_hours)
    return lake, due_alert(health, exit_code, patience)


def _quiet(_: Any) -> None:
    """What there is to say was said by the run."""
