"""Every error that a person is meant to read, grouped by what that person should do next.

An error says what happened to which thing (`message`) and one act or one command that helps (`hint`). The scripts
print both and exit with its `exit_code`; anything else is a fault of ours, with a traceback. No message has a secret.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import Any

from pipeline.printable import printable


class PipelineError(Exception):
    """What happened, to which thing, and what to do about it; both are `printable`. It can be pickled."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined] # not in its stubs


class ActionNeeded(PipelineError):
    """A person must act before a new run can succeed; nothing was lost."""

    exit_code = 1


class WrongUsage(PipelineError):
    """The command's own arguments are wrong; nothing was done."""

    exit_code = 2


class TryLater(PipelineError):
    """Nothing changed; the same command may well succeed later."""

    exit_code = 75


def common_exit_code(errors: Iterable[PipelineError]) -> int:
    """0 without errors; the code that they have in common, or 1: a person must act."""
    codes = {error.exit_code for error in errors}
    return codes.pop() if len(codes) == 1 else int(bool(codes))


# Without blank lines between the classes, so that the whole tree can be seen at once.
# fmt: off

# --- A person must act: exit code 1

# Settings, feeds, and the commands themselves
class NoticeNotSent(ActionNeeded):
    """A person or an OpenLineage receiver could not be notified of a run; the run's result stands."""
class OutputLost(ActionNeeded):
    """The result could not be printed; what the command did stands."""
class FeedFault(ActionNeeded):
    """A fault of this program stopped one feed; the others go on."""
class FeedInvalid(ActionNeeded):
    """A feed's definition breaks a rule; the feed is left as it was."""
class OutputNotWritten(ActionNeeded):
    """The file that a command was to write could not be written; the lake is as it was."""
class QueryNotAnswered(ActionNeeded):
    """A query was begun and not answered: a file is missing, or memory or the temporary folder is full."""
class SettingsInvalid(ActionNeeded):
    """A setting has a value that cannot be used."""

# ksqlDB
class AddressNotUsable(ActionNeeded):
    """The server's address is not valid, or another kind of server listens there."""
class AnswerMalformed(ActionNeeded):
    """The answer is not what the protocol says; none of it is used."""
class AuthenticationFailed(ActionNeeded):
    """The server wants other credentials."""
class BodyNotReadable(ActionNeeded):
    """A proxy has compressed an answer in a way that was not asked for and cannot be read."""
class BodyTooLong(ActionNeeded):
    """An answer is longer than any that a ksqlDB server gives."""
class ColumnNamesCollide(ActionNeeded):
    """Two columns of a source would get one name in the lake, or one of the lake's own names."""
class ServerNotSupported(ActionNeeded):
    """The server is older than what this client can read without loss, or is no ksqlDB server."""
class SourceNotReadable(ActionNeeded):
    """The source exists but cannot be read completely."""
class SourceUnknown(ActionNeeded):
    """The server has no such stream or table, or more than one whose name differs only in case."""
class StatementRefused(ActionNeeded):
    """The server refuses the statement; repeating it will not help."""
class TableQueryPaused(ActionNeeded):
    """The query that writes a table is paused, and somebody has to resume it."""
class TopicChanged(ActionNeeded):
    """The topic is not the one that the bookmark was taken from, or has lost rows that were not read."""
class TopicGone(ActionNeeded):
    """The topic behind a source does not exist any more."""
class TypeNotSupported(ActionNeeded):
    """A column has a type that cannot be carried without loss, or that this client does not know."""
class ValueNotRepresentable(ActionNeeded):
    """A value does not fit the type that its column declares, or what was sent does not show it exactly."""

# Kafka
class KafkaSettingsInvalid(ActionNeeded):
    """A setting of Kafka names something that cannot be used; nothing was tried."""
class RegistryRefused(ActionNeeded):
    """The Schema Registry does not give a schema: credentials, rights, certificate or address are wrong."""
class SchemaUnknown(ActionNeeded):
    """The Schema Registry does not have the schema that a record names."""
class KafkaRefused(ActionNeeded):
    """The brokers refuse: credentials, certificates, rights, a protocol that they do not speak."""

# The lake
class ClockWentBack(ActionNeeded):
    """This machine's clock is behind the feed's newest commit, or was ahead when that was made."""
class ColumnUnnamed(ActionNeeded):
    """A column of the source, or a field in one, has an empty name, which not every reader can ask for."""
class CommitStands(ActionNeeded):
    """What a run did is committed, and readers see it; the disk failed at a step after that."""
class CommitUnknown(ActionNeeded):
    """The disk, or an object store, failed while the log entry was given its name; whether it is there is not known."""
class DiskFull(ActionNeeded):
    """No space left; nothing was committed, and what was staged is removed by the next run."""
class KeyUnknown(ActionNeeded):
    """The lake does not know which columns are a table's key."""
class LakeDamaged(ActionNeeded):
    """A file of the lake is missing or unreadable."""
class LogDamaged(LakeDamaged):
    """The Delta log of one feed cannot be read; the other feeds are as they were."""
class TableNotSupported(LogDamaged):
    """Another program gave the table a property under which rows or bookmarks would be read wrongly."""
class CatalogRefused(ActionNeeded):
    """A catalog of Iceberg could not be reached or refused; the lake, and what was published in it, stands."""
class LakeMissing(ActionNeeded):
    """There is no lake in that folder: it does not exist, or has no feeds."""
class LakeNotWritable(ActionNeeded):
    """The lake's folder cannot be written, or not even read; nothing was committed."""
class NothingReturns(ActionNeeded):
    """No expired row can be brought back, or only after the feed's retention rule is changed."""
class NothingSound(ActionNeeded):
    """The damage cannot be repaired: the lake has no sound version to take its place."""
class PartitionColumnUnusable(ActionNeeded):
    """The column that a feed is partitioned by does not exist, or is not of a type with a date."""
class RetentionHeld(ActionNeeded):
    """More than EXPIRE_MAX_SHARE of a feed's rows would expire at once, and neither time nor new rows explain it."""
class SchemaChanged(ActionNeeded):
    """The source's columns no longer fit the lake's."""
class StoreNotSafe(ActionNeeded):
    """The object store lets a second object take the name of a first, so one run could replace another's commit."""
class StoreRefused(ActionNeeded):
    """The object store refuses: credentials, rights, certificate, bucket or address are wrong."""
class VersionsUsedUp(ActionNeeded):
    """The table's next version has a number that its column cannot hold."""

# Export
class SparkUnusable(ActionNeeded):
    """Spark cannot be started, or its executors cannot run this program; what was committed before stays."""
class DayNotReplaceable(ActionNeeded):
    """The source no longer has rows that the lake has, so replacing them would lose them."""
class SnapshotShrank(ActionNeeded):
    """A table lost more rows at once than is accepted unless a person confirms it."""

# The warehouse
class ClockWrong(ActionNeeded):
    """A clock, or a time in the ledger, cannot be true; nothing was changed."""
class LakeWentBack(ActionNeeded):
    """The warehouse has later versions of a table than the lake that they came from; nothing was loaded."""
class MappingDoesNotFit(ActionNeeded):
    """A feed's warehouse mapping does not fit its source or its target; nothing was written."""
class MembersMerged(ActionNeeded):
    """A dimension cannot tell two members apart; nothing was changed."""
class MigrationChanged(ActionNeeded):
    """A file of sql/ was edited after it was applied, so it no longer describes the warehouse; nothing was done."""
class NoProposal(ActionNeeded):
    """No fact table can be proposed for this feed; nothing was changed."""
class OptionFileInvalid(ActionNeeded):
    """The option file cannot be used."""
class RowsDoNotFit(ActionNeeded):
    """Rows were rejected, and the load was asked to take all rows or none; nothing was changed."""
class ScratchUnusable(ActionNeeded):
    """The system's temporary folder has no space, or cannot be written."""
class ServerInvalid(ActionNeeded):
    """A setting for MySQL's address or a TLS file cannot be used; nothing was tried."""
class WarehouseRefused(ActionNeeded):
    """The server refuses: credentials, certificates, rights, schema, space."""

class RowRefused(WarehouseRefused):
    """A table does not take a row, because of a key, a CHECK or a trigger; `reason` says why, in the server's words."""

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


# --- Wrong usage: exit code 2

# The commands themselves
class QueryRefused(WrongUsage):
    """A query is no SELECT, or DuckDB refuses it."""

# The lake
class FeedExists(WrongUsage):
    """A feed of that name is there already."""
class ViewExists(FeedExists):
    """A feed of another name has a view of that name already."""
class FeedUnknown(WrongUsage):
    """There is no such feed."""
class NotACopy(WrongUsage):
    """The place that a lake is to be copied to has something that the lake does not have; it is left as it is."""
class VersionUnknown(WrongUsage):
    """The table has no such version any more, or never had it."""

# The warehouse
class NoTimeForSnapshot(WrongUsage):
    """The snapshot cannot have been taken at the given time; nothing was changed."""
class RetentionNotGiven(WrongUsage):
    """An expiry was asked for without a rule."""
class SnapshotUnknown(WrongUsage):
    """The warehouse has no complete snapshot of that number."""

# --- Nothing changed, try again later: exit code 75

# ksqlDB
class AnswerIncomplete(TryLater):
    """The answer ended without proof that it is whole; none of it is used."""
class ClusterNotWhole(TryLater):
    """A read of a table may lack rows: the query that writes it is not running on all hosts with all tasks."""
class QueryFailed(TryLater):
    """The server reported an error in the middle of its answer; none of it is used."""
class ReadStalled(TryLater):
    """The source stopped sending before the end of the read; the rows received so far are kept."""
class ServerNotReady(TryLater):
    """The server answers, but refuses for now: starting, restarting, or at a limit."""
class ServerUnreachable(TryLater):
    """No connection, or the connection broke before an answer."""
class SnapshotDoubled(TryLater):
    """A read of a table held a key more than once; the last good snapshot stays the current one."""
class TopicNotDescribed(TryLater):
    """The server cannot ask Kafka about a topic."""

class TimeIsOver(TryLater):
    """A read had not finished at its deadline."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was not read to its end in the time given; nothing of it was kept",
            "run the same command with a higher --max-runtime",
        )


# Kafka
class RegistryUnreachable(TryLater):
    """The Schema Registry does not answer for now."""
class KafkaUnreachable(TryLater):
    """No broker answers, or not in time; what was committed before stays."""

# The lake
class CommitFailed(TryLater):
    """No new entry could be added to the Delta log; the lake is as it was before."""
class FeedLocked(TryLater):
    """Another run holds the feed."""
class FeedLost(TryLater):
    """The lock that this run held is no longer its own; nothing was committed."""

class StoreUnreachable(TryLater):
    """The object store does not answer, or not in time; what was committed before stays."""
class RequestUnsettled(StoreUnreachable):
    """A request was sent to the object store, and whether it was done, or still will be, is not known."""

# Export
class ReadInPart(TryLater):
    """A second read did not bring all rows that the lake has; nothing was replaced."""
class WorkerLost(TryLater):
    """A process, or Spark, that staged rows ended before its task did; what was committed before stays."""
class SnapshotNotBelieved(TryLater):
    """No complete read of a table was possible in time; the last good snapshot stays the current one."""

# The warehouse
class PasswordCommandLate(TryLater):
    """The command that prints MySQL's password did not end in time; nothing was tried."""
class RowsLost(TryLater):
    """The server did not keep all rows that were sent."""
class WarehouseBusy(TryLater):
    """Another sync holds the warehouse, or rows stayed locked for too long."""
class WarehouseUnreachable(TryLater):
    """No connection, or it broke; the open transaction is rolled back and the old star is whole."""
# fmt: on
