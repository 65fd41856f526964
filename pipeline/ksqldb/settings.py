"""The settings of the ksqlDB server, and the rules that hold between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

if TYPE_CHECKING:
    from pipeline.ksqldb.connection import Connection

_HOUR, _DAY = 3600, 86_400


class KsqldbSettings(BaseModel):
    """A part of `data_lake_config.Settings`."""

    ksqldb_url: str = Field("http://localhost:8088", description="ksqlDB REST address")
    ksqldb_user: str = Field("", description="Basic authentication: user or API key")
    ksqldb_password: SecretStr = Field(SecretStr(""), description="Basic authentication: password or API secret")
    ksqldb_token: SecretStr = Field(SecretStr(""), description="bearer token, instead of user and password")
    ksqldb_ca_file: str = Field("", description="PEM file with the CA that signed the server's certificate")
    ksqldb_client_cert: str = Field("", description="PEM file with the client's certificate and key, for mutual TLS")
    ksqldb_timeout_s: float = Field(
        30, gt=0, le=_HOUR, description="time for connecting, for each admin request, and for a table pull's next byte"
    )
    ksqldb_retry_s: float = Field(90, ge=0, le=_DAY, description="how long a restarting or busy server is waited for")
    ksqldb_scans: int = Field(1, ge=1, le=64, description="queries of ours that the server works on at once")
    stall_s: float = Field(120, gt=0, le=_DAY, description="how long a read may show no progress at all")

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        if self.ksqldb_user and self.ksqldb_token.get_secret_value():
            raise ValueError("KSQLDB_USER and KSQLDB_TOKEN exclude each other: give one")
        return self

    @model_validator(mode="after")
    def _secrets_stay_secret(self) -> Self:
        """Refuses secrets that would get into messages: a token that HTTP cannot send, and a password in the URL."""
        token = self.ksqldb_token.get_secret_value()
        if not (token.isascii() and token.isprintable()):
            raise ValueError("KSQLDB_TOKEN holds a line break or another character that HTTP cannot send")
        if "@" in self.ksqldb_url:
            raise ValueError("KSQLDB_URL holds a user or password: give them as KSQLDB_USER and KSQLDB_PASSWORD")
        return self

    def ksqldb_connection(self) -> Connection:
        from pipeline.ksqldb.connection import Connection

        return Connection(
            url=self.ksqldb_url,
            user=self.ksqldb_user,
            password=self.ksqldb_password.get_secret_value(),
            token=self.ksqldb_token.get_secret_value(),
            ca_file=self.ksqldb_ca_file,
            client_cert=self.ksqldb_client_cert,
            timeout_s=self.ksqldb_timeout_s,
            retry_s=self.ksqldb_retry_s,
            stall_s=self.stall_s,
        )
