"""A reader that is slower than the server, whose query another node holds and so cannot be closed."""

from __future__ import annotations

import time

import pytest

from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.faults import Fault
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import running
from pipeline.ksqldb.answer import Answer
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import find_source
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.limits import Limits


@pytest.mark.long
@pytest.mark.server
def test_a_folded_table_is_whole_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("TEXT", parse_type("STRING")))
    records = [Record(0, n, 1_763_600_000_000 + n, {"K": str(n), "TEXT": "x" * 2000}) for n in range(1000)]
    next_piece = Answer._next_piece

    def slowly(answer: Answer) -> bytes:
        time.sleep(0.01)
        return next_piece(answer)

    monkeypatch.setattr(Answer, "_next_piece", slowly)
    with (
        running(Dataset([Source("T", "TABLE", columns, "t_topic", 1, records)])) as server,
        Client(Connection(server.url)) as client,
    ):
        server.faults.add(Fault("push", elsewhere=True, count=0))
        read = KsqldbTable(client, find_source(client, "T")).read(Limits(3, 60), watched=True)
        rows = sum(batch.num_rows for batch in read.batches)

    assert rows == 1000
