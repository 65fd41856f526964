"""Settings: where the lake, ksqlDB, Kafka and MySQL are, and the feeds that `manage_feeds.py sync` creates.

The only reader of the environment and of `.env`. Every setting below can be given in `.env`, or as an environment
variable, which counts more: the same name in capitals (LAKE_ROOT, KSQLDB_URL, MYSQL_HOST ...); a secret also as
NAME_FILE, the path of a file that holds it. Run as a script it prints the effective settings, secrets masked, and
makes the lake's folders.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from pipeline import start

    start.guard()

import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from pydantic import ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from pipeline import cli, options, scripts
from pipeline.errors import SettingsInvalid
from pipeline.feeds import DimensionMapping, Feed, WarehouseMapping
from pipeline.kafka.settings import KafkaSettings
from pipeline.ksqldb.settings import KsqldbSettings
from pipeline.lake.settings import StoreSettings
from pipeline.limits import Limits, ReadPolicy
from pipeline.notice_settings import NoticeSettings
from pipeline.process import keep_private
from pipeline.settings import gather
from pipeline.source import Sources
from pipeline.validation import rules_of
from pipeline.warehouse.option_file import password_is_open, read_option_file
from pipeline.warehouse.server import Server

if TYPE_CHECKING:
    from pipeline.lake.lake import Lake

PROJECT_ROOT = Path(__file__).resolve().parent
ENV_FILE = PROJECT_ROOT / ".env"
_HOUR, _DAY, _WEEK = 3600, 86_400, 7 * 86_400


class Settings(KsqldbSettings, KafkaSettings, StoreSettings, NoticeSettings):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lake_root: str = Field(str(PROJECT_ROOT / "data_lake"), description="folder, or s3://, gs:// or az://bucket/prefix")
    lake_mode: str = Field("0750", description="rights of the lake's folders at most; its files get the same without x")
    parquet_compression: Literal["snappy", "zstd"] = Field("snappy", description="of new data files: snappy or zstd")
    lake_log_format: Literal["text", "json"] = Field("text", description="of the lines of all logs")
    expire_grace_hours: int = Field(168, ge=0, le=8_760, description="hours that expired files stay for open readers")
    expire_max_share: float = Field(0.2, ge=0, le=1, description="share of a feed's rows that may expire at once")
    compact_after_export: bool = Field(False, description="compact small files of days that are over after an export")
    compact_target_mb: int = Field(128, ge=1, le=100_000, description="MB that a file should have when it is compacted")
    health_min_free_mb: int = Field(1000, ge=0, le=10**9, description="MB that must be free where the lake is")
    commit_rows: int = Field(500_000, ge=1, le=100_000_000, description="rows of a stream between two commits")
    export_jobs: int = Field(
        8, ge=1, le=256, description="feeds that one run exports at once: while one waits, others read"
    )
    export_workers: int = Field(0, ge=0, le=256, description="tasks of a topic staged at once; 0: one a core")
    export_engine: Literal["processes", "spark"] = Field("processes", description="who stages them: processes or spark")

    quiet_s: float = Field(3, gt=0, le=_HOUR, description="how long a stream stands still when it is caught up")
    snapshot_recheck_s: float = Field(5, ge=0, le=_HOUR, description="pause between two reads of a table")
    snapshot_wait_s: float = Field(
        180, ge=0, le=_DAY, description="how long a table is waited for while a ksqlDB node is lost"
    )
    snapshot_max_shrink: float = Field(0.2, ge=0, le=1, description="share of rows that a table may lose at once")

    mysql_host: str = Field("localhost", description="MySQL or MariaDB server")
    mysql_port: int = Field(3306, ge=1, le=65535, description="its TCP port")
    mysql_socket: str = Field("", description="Unix socket, instead of host and port")
    mysql_user: str = Field("root", description="account; docs/warehouse.md names the rights it needs")
    mysql_password: SecretStr = Field(SecretStr(""), description="its password")
    mysql_password_command: str = Field("", description="command that prints it, run at each connect; needs TLS")
    mysql_database: str = Field("data_warehouse", description="database of the star schema")
    mysql_ssl_ca: str = Field("", description="PEM file with the CA of the MySQL server; turns verification on")
    mysql_ssl_cert: str = Field("", description="PEM file with the client's certificate, where the server asks for one")
    mysql_ssl_key: str = Field("", description="PEM file with its key, without a password")
    mysql_sync_log_dir: str = Field("logs", description="folder of sync_to_mysql.py's log; relative to the scripts")
    mysql_option_file: str = Field("", description="file with a group [client], for what is not set here: ~/.my.cnf")
    mysql_timeout_s: float = Field(30, gt=0, le=_HOUR, description="time for connecting")
    mysql_stall_s: float = Field(
        3600, gt=0, le=_WEEK, description="time for the answer to one statement, which may be a long one"
    )
    mysql_lock_wait_s: float = Field(50, gt=0, le=_DAY, description="time for a lock that another session holds")
    scd2_dimensions: str = Field("", description="dimensions whose history is kept (SCD2), with commas: dim_users")

    @field_validator("lake_mode")
    @classmethod
    def _is_mode(cls, value: str) -> str:
        if re.fullmatch("0?7[057][057]", value) is None:
            raise ValueError("it is no mode of a folder, such as 0700, 0750 or 0755")
        return value

    @field_validator("lake_root", "mysql_sync_log_dir")
    @classmethod
    def _from_this_folder(cls, value: str) -> str:
        """Relative paths are relative to the scripts, wherever they are run from: cron has another working folder."""
        if not value.strip():
            raise ValueError("it is empty; name a folder")
        try:
            return value if "://" in value else str(PROJECT_ROOT / Path(value).expanduser())
        except RuntimeError:
            raise ValueError("it begins with a user who is not known here; write the whole path") from None

    @model_validator(mode="before")
    @classmethod
    def _rest_from_option_file(cls, data: Any) -> Any:
        """Takes MySQL's connection settings that neither the environment nor `.env` gives from the option file."""
        if path := data.get("mysql_option_file"):
            found = read_option_file(path)
            if data.get("mysql_host") or data.get("mysql_port"):
                found.pop("socket", None)
            if data.get("mysql_password_command"):
                found.pop("password", None)
            data |= {f"mysql_{name}": value for name, value in found.items() if not data.get(f"mysql_{name}")}
        return data

    def lake(self, tell: Callable[[str], None]) -> Lake:
        from pipeline.lake.lake import Lake

        compression, access = self.parquet_compression, self.store_access()
        return Lake(self.lake_root, tell, self.expire_grace_hours, compression=compression, access=access)

    def sources(self, wait: bool = True) -> AbstractContextManager[Sources]:
        """Connects to ksqlDB, which describes streams and tables; with brokers set their rows come from Kafka."""
        from pipeline.ksqldb import source as ksqldb

        brokers = self.kafka_connection()
        if brokers is None:
            return ksqldb.connected(self.ksqldb_connection(), wait)
        from pipeline.kafka import source as kafka

        return kafka.connected(self.ksqldb_connection(), brokers, self.schema_registry(), wait)

    @property
    def compact_target_bytes(self) -> int:
        return self.compact_target_mb * 10**6

    def limits(self) -> Limits:
        return Limits(self.quiet_s, self.stall_s)

    def read_policy(self, allow_shrink: bool = False) -> ReadPolicy:
        return ReadPolicy(
            recheck_s=self.snapshot_recheck_s,
            wait_s=self.snapshot_wait_s,
            max_shrink=1 if allow_shrink else self.snapshot_max_shrink,
            tell=cli.tell,
        )

    def mysql_server(self, given: Mapping[str, Any] | None = None) -> Server:
        """The warehouse's server; `given` values override the settings."""
        server = Server(
            host=self.mysql_host,
            port=self.mysql_port,
            socket=self.mysql_socket,
            user=self.mysql_user,
            password=self.mysql_password.get_secret_value(),
            password_command=self.mysql_password_command,
            database=self.mysql_database,
            ssl_ca=self.mysql_ssl_ca,
            ssl_cert=self.mysql_ssl_cert,
            ssl_key=self.mysql_ssl_key,
            timeout_s=self.mysql_timeout_s,
            stall_s=self.mysql_stall_s,
            lock_wait_s=self.mysql_lock_wait_s,
        )
        return server.with_options(given or {})

    def scd2_tables(self) -> frozenset[str]:
        return frozenset(name.strip() for name in self.scd2_dimensions.split(",") if name.strip())


def load_settings(tell: Callable[[str], None] = cli.warn) -> Settings:
    """The effective settings: defaults, then `.env`, then the environment; unknown names are reported to `tell`.

    Raises SettingsInvalid naming each setting that cannot be used; values are not repeated, they may be secrets.
    """
    names = {name.upper(): field.annotation is SecretStr for name, field in Settings.model_fields.items()}
    secrets = [name for name, is_secret in names.items() if is_secret]
    given = gather(names, secrets, ENV_FILE, os.environ, tell)
    try:
        settings = Settings.model_validate({name.lower(): value for name, value in given.items()})
    except ValidationError as error:
        rules = rules_of(error, spelled=str.upper)
        raise SettingsInvalid(f"the settings cannot be used: {rules}", "correct the environment or .env") from None
    if password_is_open(settings.mysql_option_file):
        tell(f"others can read the password in {settings.mysql_option_file}: chmod 600 it")
    keep_private(int(settings.lake_mode, 8))
    return settings


def alert_command() -> str:
    """ALERT_COMMAND, also where another setting cannot be used: just then a person must be alerted."""
    try:
        return gather(["ALERT_COMMAND"], (), ENV_FILE, os.environ, lambda _: None).get("ALERT_COMMAND", "")
    except SettingsInvalid:
        return os.environ.get("ALERT_COMMAND", "")


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _stream(name: str, retention_days: int, description: str) -> Feed:
    return Feed(name=name, type="stream", source=name, description=description, retention_days=retention_days)


def _table(
    name: str,
    description: str,
    keys: tuple[str, ...],
    columns: dict[str, str],
    dimension: DimensionMapping | None = None,
) -> Feed:
    mapping = WarehouseMapping(fact=f"fact_{name}", keys=keys, columns=columns, dimension=dimension)
    return Feed(name=name, type="table", source=name, description=description, retention_versions=7, warehouse=mapping)


_USER_COLUMNS = _same("user_id", "user_name", "user_email", "user_country", "user_city")

DEFAULT_FEEDS: tuple[Feed, ...] = (
    _stream("transaction_stream", 365, "Raw transaction events, nested as they arrive"),
    _stream("transaction_flattened", 365, "Transactions with the user's fields as columns"),
    _stream("transaction_stream_anonymized", 730, "Transactions without personal data, amounts in EUR too"),
    _stream("transaction_stream_blacklisted", 365, "Transactions from blacklisted cities"),
    _table(
        "user_transaction_summary",
        "Totals per user and transaction type, in original currencies",
        keys=("user_id", "transaction_type"),
        columns=_same(
            "user_id", "transaction_type", "total_amount", "transaction_count", "avg_amount", "min_amount",
            "max_amount", "last_transaction_date",
        ),
        dimension=DimensionMapping(
            table="dim_users", key="user_id", columns=_USER_COLUMNS, latest_by="last_transaction_date"
        ),
    ),
    _table(
        "user_transaction_summary_eur",
        "Totals per user and transaction type, in EUR",
        keys=("user_id", "transaction_type"),
        columns=_same(
            "user_id", "transaction_type", "total_amount_eur", "transaction_count", "avg_amount_eur", "exchange_rate"
        ),
        dimension=DimensionMapping(table="dim_users", key="user_id", columns=_USER_COLUMNS),
    ),
    _table(
        "payment_method_totals",
        "Totals per payment method",
        keys=("payment_method_id",),
        columns={"payment_method_id": "payment_method"} | _same("total_amount", "transaction_count", "avg_amount"),
        dimension=DimensionMapping(
            table="dim_payment_methods", key="payment_method_id", columns={"payment_method_id": "payment_method"}
        ),
    ),
    _table(
        "product_purchase_counts",
        "Purchases per product",
        keys=("product_id",),
        columns=_same(
            "product_id", "product_name", "product_category", "purchase_count", "total_revenue", "avg_price",
            "unique_buyers",
        ),
    ),
)  # fmt: skip


@click.command(cls=scripts.Command, examples=["data_lake_config.py", "data_lake_config.py --json"])
@options.json_output
def main(json_output: bool) -> None:
    """Print the effective settings, secrets masked, and make the lake's folders."""
    settings = load_settings()
    lake = settings.lake(cli.tell)
    lake.make_folders()
    shown = {name.upper(): _masked(value) for name, value in settings.model_dump().items()}
    lines = [
        f"# {field.description}\n{name.upper()}={shown[name.upper()]}" for name, field in Settings.model_fields.items()
    ]
    lines += [
        "",
        f"# The lake's folders are in {lake}",
        f"# {len(DEFAULT_FEEDS)} default feeds: python manage_feeds.py sync",
    ]
    cli.show(json_output, {"schema_version": 1, "settings": shown}, lines)


def _masked(value: Any) -> Any:
    return ("********" if value.get_secret_value() else "") if isinstance(value, SecretStr) else value


if __name__ == "__main__":
    scripts.run(main)
