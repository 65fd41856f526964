"""F8, its sources that change between runs: topics that lose rows or are recreated, columns that come, go and widen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ksqldb_emulator.dataset import Column, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from tests.expected import expected_rows, lake_rows
from tests.support import lake_at
from tests.torture.trial import Case, Trial

STREAM, TABLE = ("--stream", "events"), ("--table", "latest")


def recreated_topic(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    stage, history = trial.stage, lake_rows(trial.stage.root, trial.stage.stream)
    old = stage.emulator.source("EVENTS")
    stage.emulator.replace_source(replace(old, records=old.records[:60]))
    trial.expect_error(trial.run(*STREAM), 1, "was recreated or cut", "manage_feeds.py archive")
    trial.expect_rows(stage.stream, history)
    # The hint, done as it says.
    trial.expect_done(trial.run("archive", "events", script="manage_feeds"))
    again = ("add", "--name", "events_2", "--type", "stream", "--source", "EVENTS", "--description", "the new topic")
    trial.expect_done(trial.run(*again, script="manage_feeds"))
    trial.expect_done(trial.run("--stream", "events_2"), "60 rows")
    trial.expect_rows(stage.stream, history)


def recreated_topic_that_grew_past_the_bookmark(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    stage, history = trial.stage, lake_rows(trial.stage.root, trial.stage.stream)
    old = stage.emulator.source("EVENTS")
    others = [replace(record, rowtime=record.rowtime + 1) for record in old.records]
    stage.emulator.replace_source(replace(old, records=others))
    stage.add_rows(200)
    trial.expect_error(trial.run(*STREAM), 1, "was recreated: offset", "manage_feeds.py archive")
    trial.expect_rows(stage.stream, history)


def recreated_topic_with_the_old_times(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    stage, history = trial.stage, lake_rows(trial.stage.root, trial.stage.stream)
    old = stage.emulator.source("EVENTS")
    others = [replace(record, values={**(record.values or {}), "TEXT": "another"}) for record in old.records]
    stage.emulator.replace_source(replace(old, records=others))
    stage.add_rows(200)
    trial.expect_error(trial.run(*STREAM), 1, "has other values than in the lake (text)", "manage_feeds.py archive")
    trial.expect_rows(stage.stream, history)


def topic_that_cannot_be_described_for_a_while(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    source = trial.stage.emulator.source("EVENTS")
    source.partitions = 0
    trial.stage.add_rows(30)
    trial.expect_error(trial.run(*STREAM), 75, "cannot ask Kafka for now")
    source.partitions = 3
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def retention_past_the_bookmark(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    stage, history = trial.stage, lake_rows(trial.stage.root, trial.stage.stream)
    stage.add_rows(60)
    source = stage.emulator.source("EVENTS")
    source.log_start = {0: 105}
    trial.expect_error(trial.run(*STREAM), 1, "may have lost rows", "--accept-gap")
    trial.expect_rows(stage.stream, history)
    trial.expect_done(trial.run(*STREAM, "--accept-gap"), "partition 0: offsets 100 to 104 are lost")
    kept = [r for r in source.records if r.partition != 0 or not 100 <= r.offset < 105]
    trial.expect_rows(stage.stream, expected_rows(source, kept))
    note = lake_at(stage.root).table(stage.stream).history()[0]["pipeline"]
    if note["gaps"] != {"0": [100, 105]}:
        trial.wrong("reported wrongly", f"the commit keeps the gaps {note['gaps']}")


def retention_in_a_partition_that_was_empty(trial: Trial) -> None:
    stage = trial.stage
    source = stage.emulator.source("EVENTS")
    later = [record for record in source.records if record.partition == 2]
    source.records[:] = [record for record in source.records if record.partition != 2]
    trial.expect_done(trial.run(*STREAM))
    source.records += later[20:]
    source.log_start = {2: 20}
    trial.expect_error(trial.run(*STREAM), 1, "partition 2 now begins at offset 20", "--accept-gap")
    trial.expect_done(trial.run(*STREAM, "--accept-gap"), "partition 2: offsets 0 to 19 are lost")
    trial.expect_rows(stage.stream, expected_rows(source))


def partition_emptied_by_retention(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    stage, history = trial.stage, lake_rows(trial.stage.root, trial.stage.stream)
    source = stage.emulator.source("EVENTS")
    source.records[:] = [record for record in source.records if record.partition != 1]
    source.log_start = {1: 120}
    trial.expect_error(trial.run(*STREAM, "--full"), 1, "may have lost rows", "--accept-gap")
    trial.expect_done(trial.run(*STREAM, "--full", "--accept-gap"), "partition 1: offsets 100 to 119 are lost")
    trial.expect_done(trial.run(*STREAM))
    trial.expect_rows(stage.stream, history)
    trial.expect_done(trial.run("verify", "--deep", "--source", "events", script="metadata_utils"), "as on the server")


def deleted_row_whose_key_the_server_does_not_tell(trial: Trial) -> None:
    """A table that only a push reads: a TIMESTAMP is asked for in another form, which deleted rows do not fill."""
    keys = (1_790_000_000_000, 1_790_000_060_000)
    columns = (Column("AT", parse_type("TIMESTAMP"), "KEY"), Column("N", parse_type("BIGINT")))
    records = [Record(0, n, at, {"AT": at, "N": n}) for n, at in enumerate(keys)]
    trial.stage.emulator.replace_source(Source("LATEST", "TABLE", columns, "latest", 1, records))
    trial.expect_done(trial.run(*TABLE), "2 rows; version 1")
    before = lake_rows(trial.stage.root, trial.stage.table)
    running = trial.start(*TABLE, QUIET_S="3")
    trial.wait_for_rows("LATEST")  # a row that is deleted before it was sent is not sent at all
    trial.stage.emulator.append("LATEST", [Record(0, 2, keys[1], None, key={"AT": keys[0]})])
    trial.expect_error(running(), 1, "a row of the table LATEST was deleted", "derive a table")
    trial.expect_rows(trial.stage.table, before)


def new_column(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    for name in ("EVENTS", "LATEST"):
        _change(trial, name, {"CHANNEL": ("STRING", None)})
    trial.stage.add_rows(3)
    for name in ("EVENTS", "LATEST"):
        newest = trial.stage.emulator.source(name).records[-1]
        assert isinstance(newest.values, dict)
        newest.values["CHANNEL"] = "web"
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()
    note = lake_at(trial.stage.root).table(trial.stage.stream).history()[1]["pipeline"]
    if note.get("added_columns") != ["channel"]:
        trial.wrong("reported wrongly", f"the commit keeps {note}")


def wider_type(trial: Trial) -> None:
    _change(trial, "EVENTS", {"SIZE": ("INTEGER", 7), "PRICE": ("DECIMAL(9, 2)", Decimal("1.20"))})
    trial.expect_done(trial.run("--all"))
    _change(trial, "EVENTS", {"SIZE": ("BIGINT", 7), "PRICE": ("DECIMAL(18, 4)", Decimal("1.2000"))})
    trial.stage.add_rows(3)
    newest = trial.stage.emulator.source("EVENTS").records[-1]
    assert isinstance(newest.values, dict)
    newest.values["SIZE"] = 2**40
    trial.expect_done(trial.run("--all"))
    trial.expect_done(trial.run("--all"))  # the files with the narrower type have had their grace period
    trial.expect_complete()
    table = lake_at(trial.stage.root).table(trial.stage.stream)
    kinds = [entry.get("pipeline", {}).get("kind") for entry in table.history()]
    type_ = (table.schema.field("size").metadata or {}).get(b"ksqldb.type")
    if "widen" not in kinds or type_ != b"BIGINT" or str(table.schema.field("price").type) != "decimal128(18, 4)":
        trial.wrong("reported wrongly", f"the log keeps {kinds}, the schema {table.schema}")
    trial.expect_done(trial.run("verify", "--deep", "--source", "events", script="metadata_utils"), "as on the server")


def incompatible_type(trial: Trial) -> None:
    _change(trial, "EVENTS", {"SIZE": ("INTEGER", 7)})
    trial.expect_done(trial.run("--all"))
    history = lake_rows(trial.stage.root, trial.stage.stream)
    _change(trial, "EVENTS", {"SIZE": ("STRING", "7")})
    trial.stage.add_rows(3)
    trial.expect_error(trial.run(*STREAM), 1, "size was int32 and is string", "manage_feeds.py archive events")
    trial.expect_rows(trial.stage.stream, history)
    _change(trial, "EVENTS", {"SIZE": ("INTEGER", 7)})
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def column_that_is_gone(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    source = trial.stage.emulator.source("LATEST")
    trial.stage.emulator.replace_source(replace(source, columns=source.columns[:-1]))
    trial.expect_error(trial.run(*TABLE), 1, "text is gone", "manage_feeds.py archive latest")
    trial.stage.emulator.replace_source(source)
    trial.expect_complete()
    trial.expect_done(trial.run("--all"))


CASES: tuple[Case, ...] = (
    recreated_topic,
    recreated_topic_that_grew_past_the_bookmark,
    recreated_topic_with_the_old_times,
    topic_that_cannot_be_described_for_a_while,
    retention_past_the_bookmark,
    retention_in_a_partition_that_was_empty,
    partition_emptied_by_retention,
    deleted_row_whose_key_the_server_does_not_tell,
    new_column,
    wider_type,
    incompatible_type,
    column_that_is_gone,
)


def _change(trial: Trial, name: str, columns: Mapping[str, tuple[str, Any]]) -> None:
    """Gives a source columns of that type, with that value in every row."""
    source: Source = trial.stage.emulator.source(name)
    kept = tuple(column for column in source.columns if column.name not in columns)
    new = tuple(Column(column, parse_type(type_)) for column, (type_, _) in columns.items())
    values = {column: value for column, (_, value) in columns.items()}
    records: list[Record] = [replace(r, values={**(r.values or {}), **values}) for r in source.records]
    trial.stage.emulator.replace_source(replace(source, columns=(*kept, *new), records=records))
