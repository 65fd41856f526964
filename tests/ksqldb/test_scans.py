"""A scan of the server is a turn: taken before a query begins, given back while it waits and when it is over."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from demo.definitions import Pipeline
from demo.events import generate
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S, running
from pipeline.errors import PipelineError, TimeIsOver
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import find_source
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.ksqldb.stream import KsqldbStream
from pipeline.limits import Limits
from pipeline.source import Task
from pipeline.turns import Turns

STREAM, TABLE = "TRANSACTION_STREAM_BLACKLISTED", "PAYMENT_METHOD_TOTALS"


def pipeline() -> Pipeline:
    made = Pipeline()
    for event in generate(100, dt.date(2026, 11, 20), seed=5):
        made.add(event)
    return made


def test_a_stream_that_only_waits_for_its_end_lets_others_read() -> None:
    turns, quiet_s = Turns(), PATIENCE_S  # it is quiet long after this test has ended
    with running(pipeline().dataset()) as emulator, Client(Connection(emulator.url)) as client:
        limits = Limits(quiet_s, stall_s=FOR_EVER_S, turns=turns.of("stream"))
        stream = KsqldbStream(client, find_source(client, STREAM))
        plan = stream.plan(Task("stream", stream.source.topic, {}), limits)
        with pytest.raises(TimeIsOver):
            turns.of("other").take("scan", "OTHER", 0)
        read = stream.read(plan.tasks[0], limits)
        reader = threading.Thread(target=lambda: list(read.batches))
        reader.start()

        turns.of("other").take("scan", "OTHER", PATIENCE_S).give_back()

        assert reader.is_alive()
        assert read.outcome is None
        turns.stop()
        reader.join()
        assert read.outcome == "time limit"


def test_a_table_s_turn_is_over_with_its_answer() -> None:
    turns = Turns()
    with running(pipeline().dataset()) as emulator, Client(Connection(emulator.url)) as client:
        table = KsqldbTable(client, find_source(client, TABLE))

        read = table.read(Limits(turns=turns.of("table")), watched=True)
        with pytest.raises(TimeIsOver):
            turns.of("other").take("scan", "OTHER", 0)
        assert sum(batch.num_rows for batch in read.batches) > 0

        turns.of("other").take("scan", "OTHER", 0).give_back()
        table.read(Limits(turns=turns.of("table")), watched=True)
        table.read(Limits(turns=turns.of("table")), watched=True)  # the answer before, which nobody has read, is closed


def test_a_query_that_the_server_refuses_keeps_no_turn() -> None:
    turns = Turns()
    with running(pipeline().dataset()) as emulator:
        client = Client(Connection(emulator.url))
        table = KsqldbTable(client, find_source(client, TABLE))
        emulator.faults.add(Fault("pull", status=400))
        with pytest.raises(PipelineError):
            table.read(Limits(turns=turns.of("table")), watched=True)

        turns.of("other").take("scan", "OTHER", 0)
