"""What is said of a load: nothing in the data gives orders to a terminal."""

from __future__ import annotations

import datetime as dt

from pipeline.report.warehouse import history_lines, loaded_lines
from pipeline.text import as_table
from pipeline.warehouse.fitting import Reject
from pipeline.warehouse.ledger import SnapshotEntry
from pipeline.warehouse.load import Loaded, LoadedFact


def test_control_characters_of_the_data_are_shown_and_not_sent() -> None:
    reject = Reject('{"id": "\x9b2J"}', "name", "a trigger says \x1b[31mno\nagain", "{}")
    fact = LoadedFact("feed", "fact_own", 1, 1, [reject], 1, ["a\x1b]0;title\x07"])

    lines = loaded_lines(Loaded([fact], 1), dry_run=False)

    assert all(line.isprintable() for line in lines)
    assert "\\x1b[31mno again" in "".join(lines)


def test_a_history_fits_a_terminal() -> None:
    facts = tuple(f"fact_{'x' * 55}{number}" for number in range(4))
    at = dt.datetime(2026, 11, 24, 6)
    entries = [
        SnapshotEntry(1_000_000, at, at, "ksqldb", "complete", 999_999_999, 1_000_000, facts),
        SnapshotEntry(2, at, at, "lake", "expiring", 5, 0, ()),
    ]

    lines = "\n".join(history_lines(entries)).splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[-5:] == ["The views of these facts show snapshot 1000000:", *(f"  {fact}" for fact in facts)]


def test_the_rule_of_a_table_is_never_wider_than_a_terminal() -> None:
    wide = as_table([["1", "fact_a, " * 30]], ["snapshot", "shown by the views of"])

    assert wide.splitlines()[1] == "-" * 80


def test_a_last_cell_that_is_longer_than_a_terminal_is_broken_between_its_words() -> None:
    command = " ".join(["export_to_data_lake --all", *["--alert-command 'mail me'"] * 5])
    lines = as_table([["ok", command]], ["state", "command"]).splitlines()

    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines[3:]).split()) == command
