"""Tells an OpenLineage receiver what a run reads and writes, where OPENLINEAGE_URL names one.

A receiver that cannot be reached is a warning, once a run; the run's result stands.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from pipeline import cli
from pipeline.errors import NoticeNotSent, PipelineError

if TYPE_CHECKING:
    import datetime as dt

    from data_lake_config import Settings
    from pipeline.lake.lake import Lake
    from pipeline.lineage import Command, Places, Receiver
    from pipeline.warehouse.server import Server


def follow(settings: Settings, lake: Lake, script: str, now: dt.datetime, server: Server | None = None) -> None:
    """Tells that the recorded run begins, and when the command ends what it has done.

    `server` is the warehouse's; by default that of the settings.
    """
    record = cli.current_record()
    if not settings.openlineage_url or record is None:
        return
    with _warned() as errors:
        try:
            from pipeline.lineage import Command, Places, Receiver, begin_event
        except ModuleNotFoundError as error:
            hint = "python -m pip install -c requirements.lock '.[lineage]'"
            raise NoticeNotSent(f"no lineage is sent: the package {error.name} is missing", hint) from None

        broker = settings.kafka_bootstrap_servers.split(",")[0].strip()
        server = server or settings.mysql_server()
        mysql = server.socket or f"{server.host}:{server.port}"
        place = urlsplit(settings.ksqldb_url).netloc
        places = Places(settings.openlineage_namespace, place, broker, mysql, server.database)
        receiver = Receiver(settings.openlineage_url, settings.openlineage_api_key.get_secret_value())
        command = Command(script, record.run_id, now)
        receiver.send([begin_event(command, places)])
    if not errors:
        cli.at_end(click.get_current_context(), functools.partial(_end, lake, command, places, receiver))


def _end(lake: Lake, command: Command, places: Places, receiver: Receiver, exit_code: int) -> None:
    from pipeline.lineage import end_events

    record, now = cli.current_record(), cli.utc_now()
    with _warned():
        result = record.result if record else None
        receiver.send(end_events(lake, command, places, now, exit_code, result, cli.said_errors()))


@contextlib.contextmanager
def _warned() -> Iterator[list[PipelineError]]:
    from pipeline.faults import collected

    errors: list[PipelineError] = []
    with collected("the lineage", errors):
        yield errors
    for error in errors:
        cli.warn(f"{error.message}; {error.hint}")
