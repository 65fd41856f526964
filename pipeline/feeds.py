"""What a feed is: one ksqlDB stream or table, how the lake keeps it, and where the warehouse puts it.

A feed is a value. It is kept as one JSON file (see `pipeline.lake.feed_store`), validated here; unknown keys are
refused, so a spelling mistake in a hand-edited file is an error and never a silent default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import FeedInvalid
from pipeline.validation import rules_of

FEED_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
SOURCE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
MYSQL_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_FACT_NAME = re.compile(r"[A-Za-z0-9_]{1,52}")  # the names of its staging tables are 12 characters longer
SNAPSHOT_COLUMNS = ("snapshot_version", "snapshot_date")
RESERVED_COLUMNS = (*SNAPSHOT_COLUMNS, "staging_id")
"""Columns that a load fills itself, in facts or in its own tables; a mapping that names one is refused."""

MOST_DAYS, MOST_VERSIONS = 36_500, 1_000_000
"""What a retention may be at most: a day before the year 1 is no date."""

MOST_HOURS, MOST_ROWS = 87_600, 2**53
"""What the limits of its health may be at most."""

FeedType = Literal["stream", "table"]
ReadFrom = Literal["", "ksqldb", "kafka"]
"""Where a feed's rows are read from; empty: from where the settings say."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _matching(pattern: re.Pattern[str], what: str) -> Any:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not a valid {what} ({pattern.pattern})")
        return value

    return check


class DimensionMapping(Strict):
    """A dimension that the feed's rows fill: `columns` maps its columns to the lake's, `key` among them.

    Where several rows describe one member, the row with the greatest `latest_by` (a lake column) counts; without
    `latest_by` the greatest value of each attribute.
    """

    table: str
    key: str
    columns: dict[str, str]
    latest_by: str | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        _matching(MYSQL_NAME, "MySQL name")(self.table)
        _check_columns(self.table, self.columns)
        if self.key not in self.columns:
            raise ValueError(f"dimension {self.table}: the key {self.key!r} is not among its columns")
        return self


class WarehouseMapping(Strict):
    """Where a table feed goes in the star schema.

    `columns` maps the fact's columns to the lake's; `keys` are the fact's columns that, with the snapshot, identify a
    row (its grain).
    """

    fact: str
    keys: Annotated[tuple[str, ...], Field(min_length=1)]
    columns: dict[str, str]
    dimension: DimensionMapping | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        _matching(_FACT_NAME, "name of a fact table")(self.fact)
        _check_columns(self.fact, self.columns)
        missing = [key for key in self.keys if key not in self.columns]
        if missing:
            raise ValueError(f"fact {self.fact}: the keys {missing} are not among its columns")
        return self


def _check_columns(table: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        _matching(MYSQL_NAME, "MySQL name")(name)
        if name.lower() in RESERVED_COLUMNS:
            raise ValueError(f"{table}: the sync itself fills {name!r}; map the column under another name")
        if name.lower() in seen:
            raise ValueError(f"{table}: MySQL cannot tell {name!r} from a column that differs only in case")
        seen.add(name.lower())


class Feed(Strict):
    """One ksqlDB source as the lake keeps it.

    `partitioning` is `date` (the UTC date of ROWTIME) or `date:COLUMN` (the UTC date of that TIMESTAMP or DATE column)
    for streams, and `version` for tables. `read_from` overrides the settings' source of rows. With `keep_unreadable`
    those records of a stream's topic that are no rows are kept in a table of their own. In a bucket, dates that are
    over for `hot_days` are kept in a colder storage class.
    """

    schema_version: Literal[1] = 1
    name: str
    type: FeedType
    source: str
    description: str = ""
    partitioning: str = ""
    storage_mode: Literal["APPEND", "OVERWRITE", ""] = ""
    retention_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    retention_versions: Annotated[int, Field(ge=1, le=MOST_VERSIONS)] | None = None
    hot_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    max_age_hours: Annotated[int, Field(ge=1, le=MOST_HOURS)] | None = None
    min_rows_per_day: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None
    min_rows: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None
    enabled: bool = True
    read_from: ReadFrom = Field("", description="kafka, ksqldb, or empty: as the settings say")
    keep_unreadable: bool = Field(False, description="keep records of the topic that are no rows")
    owner: str = ""
    tags: tuple[str, ...] = ()
    warehouse: WarehouseMapping | None = None

    _name = field_validator("name")(_matching(FEED_NAME, "feed name"))
    _source = field_validator("source")(_matching(SOURCE_NAME, "ksqlDB source name"))

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_type(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("type") not in ("stream", "table"):
            return data
        stream = data["type"] == "stream"
        defaults = {"partitioning": "date", "storage_mode": "APPEND"} if stream else _TABLE_DEFAULTS
        return data | {key: value for key, value in defaults.items() if not data.get(key)}

    @model_validator(mode="after")
    def _fits_the_type(self) -> Self:
        if self.type == "stream":
            if (
                not (self.partitioning == "date" or self.partitioning.startswith("date:"))
                or len(self.partitioning) == 5
            ):
                raise ValueError(f"a stream is partitioned by 'date' or 'date:COLUMN', not {self.partitioning!r}")
            if self.storage_mode != "APPEND":
                raise ValueError("a stream is kept as APPEND: its history is never overwritten")
            if self.retention_versions is not None:
                raise ValueError("a stream has no versions: use retention_days")
            if self.min_rows is not None:
                raise ValueError("a stream has no current version: use min_rows_per_day")
            if self.warehouse is not None:
                raise ValueError("only tables are loaded into the warehouse")
        else:
            if self.partitioning != "version":
                raise ValueError(f"a table is partitioned by 'version', not {self.partitioning!r}")
            if self.min_rows_per_day is not None:
                raise ValueError("a table is read whole, not day by day: use min_rows")
            if self.keep_unreadable:
                raise ValueError("only of a stream records are kept that are no rows: keep_unreadable must be false")
            if self.storage_mode != "OVERWRITE":
                raise ValueError("a table is kept as OVERWRITE: each snapshot replaces the one before")
        return self

    @property
    def partition_column(self) -> str:
        """The lake column whose UTC date names a stream row's partition."""
        return self.partitioning.partition(":")[2] or "rowtime"

    @property
    def kind_folder(self) -> str:
        return "streams" if self.type == "stream" else "tables"

    @property
    def title(self) -> str:
        """What its data is called to people."""
        return self.name

    def of_unreadable(self) -> Feed:
        """The feed of the stream's records that are no rows: partitioned by date, kept as long as the stream's rows."""
        return _Unreadable(name=self.name, type="stream", source=self.source, retention_days=self.retention_days)

    @property
    def view_names(self) -> tuple[str, ...]:
        """Its views in `views.sql`; for a table the view of the current version comes first."""
        return (self.name,) if self.type == "stream" else (f"{self.name}_current", f"{self.name}_history")


class _Unreadable(Feed):
    @property
    def kind_folder(self) -> str:
        return "unreadable"

    @property
    def title(self) -> str:
        return f"{self.name} (unreadable records)"


_TABLE_DEFAULTS = {"partitioning": "version", "storage_mode": "OVERWRITE"}


_KEYS = {
    "": Feed.model_fields,
    "warehouse": WarehouseMapping.model_fields,
    "warehouse.dimension": DimensionMapping.model_fields,
}


def parse_feed(data: Any, where: str, hint: str = "correct what is named and run again") -> Feed:
    """The feed that `data` (parsed JSON) describes; `where` names its origin in the error.

    Raises FeedInvalid with every broken rule.
    """
    try:
        if (key := _not_text(data)) is not None:
            raise FeedInvalid(f"{where} breaks a rule: {key} holds a byte that is not UTF-8", hint)
        return Feed.model_validate(data)
    except RecursionError:
        raise FeedInvalid(f"{where} is nested too deeply", hint) from None
    except ValidationError as error:
        raise FeedInvalid(f"{where} breaks a rule: {rules_of(error, _KEYS)}", hint) from None


def _not_text(data: Any) -> str | None:
    """The key whose text holds a lone surrogate: Python turns a byte of the command line that is not UTF-8 into one."""
    for key, value in data.items() if isinstance(data, dict) else ():
        try:
            json.dumps([key, value], ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            return repr(key)
    return None
