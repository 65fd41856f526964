"""Alerts a person about a night, by a command of their own: after an export, a sync or a verification of all feeds."""

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


option = click.option(
    "--alert-command",
    metavar="CMD",
    hide_input=True,  # it may have a webhook's token: it is in no log
    help="Of all feeds: gets a summary as JSON when a person must act (ALERT_COMMAND).",
)


def follow(command: str | None) -> None:
    """Has a person alerted when the running command ends, if there is a reason; `command` is the option's."""
    context = click.get_current_context()
    cli.at_end(context, functools.partial(_alert, context, command))


def _is_of_all(context: click.Context) -> bool:
    """Whether the command is cron's: for all feeds, and in earnest. A person who looks at one feed needs no mail."""
    asked = context.params
    is_narrow = any(asked.get(name) for name in ("streams", "tables", "feeds", "since", "dry_run"))
    return asked.get("everything", True) and not is_narrow and context.invoked_subcommand is None


def _alert(context: click.Context, given: str | None, exit_code: int) -> None:
    """Whatever fails here is a warning; the run's result stands."""
    from pipeline.faults import collected

    errors: list[PipelineError] = []
    if _is_of_all(context):
        with collected("the alert", errors):
            if command := given or _configured():
                _alert_by(command, exit_code, context.command_path)
    for error in errors:
        cli.warn(f"{error.message}; {error.hint}")


def _configured() -> str:
    from data_lake_config import alert_command

    return alert_command()


def _alert_by(command: str, exit_code: int, named: str) -> None:
    """`named` is the command where it has no record."""
    from pipeline.alert import send, without_health
    from pipeline.report.alert import alert_json

    now, record, lake = cli.utc_now(), cli.current_record(), None
    try:
        lake, alert = _look(exit_code, now)
    except (PipelineError, ImportError):
        alert = without_health(exit_code)
    if alert is None:
        return
    place = {
        "host": socket.gethostname(),
        "lake": str(lake) if lake else "",
        "run": record.run_id if record else "",
        "command": record.command if record else named,
    }
    errors, result = cli.said_errors(), record.result if record else None
    send(command, alert_json(alert, now, place, exit_code, errors, result))
    if lake is not None and record is not None:
        from pipeline.lake.runs import SentAlert

        with contextlib.suppress(PipelineError):  # then the next run sends it again: better twice than never
            lake.runs.alerted(record.run_id, SentAlert(now, alert.about))


def _look(exit_code: int, now: dt.datetime) -> tuple[Lake, Alert | None]:
    from data_lake_config import load_settings
    from pipeline.alert_rule import due_alert
    from pipeline.health import look_at

    settings = load_settings(_quiet)
    lake = settings.lake(_quiet)
    health = look_at(lake, *lake.feeds.choose(), now, settings.health_min_free_mb * 10**6)
    patience = dt.timedelta(hours=settings.alert_after_hours)
    return lake, due_alert(health, exit_code, patience)


def _quiet(_: Any) -> None:
    """What there is to say was said by the run."""
