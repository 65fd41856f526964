"""Whether a fact's foreign keys are certain to hold for a snapshot's rows, so that the server need not look them up.

Row by row that look-up is a quarter of what a load costs MySQL. It is left out only where each key was proved before,
for all rows at once: the snapshot is this transaction's own row; each member is in the dimension, and locked, so that
nobody can delete it before the COMMIT. Every other fact is loaded with the checks on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.mapping import ResolvedMapping
from pipeline.warehouse.target import foreign_keys_of, is_without_triggers, others_need_key_checks

_SNAPSHOT = ("snapshot_version", "etl_snapshots", "snapshot_version")


def are_certain(connection: Connection, mapping: ResolvedMapping) -> bool:
    """Whether every foreign key of the fact will hold for the snapshot's rows, whatever other sessions do.

    Part of the load's transaction, after `add_members` and `add_snapshot`. Until it ends nobody can add a key or a
    trigger to the fact, which is open in it. A trigger might change keys, or fill other tables, whose own keys would
    not be checked then.
    """
    connection.rows(f"SELECT 1 FROM {quote(mapping.fact)} LIMIT 0")
    keys = foreign_keys_of(connection, mapping.fact)
    return (
        bool(keys)
        and keys <= {_SNAPSHOT, *_proved(mapping)}
        and not others_need_key_checks(connection)
        and is_without_triggers(connection, mapping.fact)
    )


def _proved(mapping: ResolvedMapping) -> list[tuple[str, str, str]]:
    """The foreign keys that the members prove: of each column with the values that the dimension's key has."""
    dimension = mapping.dimension
    if dimension is None:
        return []
    source = dimension.columns[dimension.key]
    return [(column.name, dimension.table, dimension.key) for column in mapping.columns if column.source == source]


@contextlib.contextmanager
def not_looked_up(connection: Connection) -> Iterator[None]:
    """Turns the session's foreign key checks off during the block, and on again however it ends.

    A session in which they cannot be turned on again is closed.
    """
    connection.run("SET SESSION foreign_key_checks = 0")
    try:
        yield
    except BaseException:
        with contextlib.suppress(PipelineError):  # the first error says more
            _look_up_again(connection)
        raise
    _look_up_again(connection)


def _look_up_again(connection: Connection) -> None:
    try:
        connection.run("SET SESSION foreign_key_checks = 1")
    except BaseException:
        connection.abandon()
        raise
