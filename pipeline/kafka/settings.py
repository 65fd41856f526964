"""The settings of Kafka and its Schema Registry, and the rules that hold between them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from pipeline.errors import KafkaSettingsInvalid
from pipeline.kafka.connection import Brokers, Registry

_HOUR = 3600
_URL = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^\s/?#\[\]:]+)(:[0-9]+)?(/[^\s?#]*)?")


class KafkaSettings(BaseModel):
    """A part of `data_lake_config.Settings`."""

    kafka_bootstrap_servers: str = Field("", description="Kafka brokers, host:port with commas; empty: ksqlDB's REST")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    kafka_user: str = Field("", description="PLAIN and SCRAM: user or API key")
    kafka_password: SecretStr = Field(SecretStr(""), description="PLAIN and SCRAM: password or API secret")
    kafka_oauth_url: str = Field("", description="OAUTHBEARER: where tokens are given (OIDC token endpoint)")
    kafka_oauth_client: str = Field("", description="OAUTHBEARER: client id")
    kafka_oauth_secret: SecretStr = Field(SecretStr(""), description="OAUTHBEARER: client secret")
    kafka_oauth_scope: str = Field("", description="OAUTHBEARER: scope that is asked for")
    kafka_ca_file: str = Field("", description="PEM file with the CA that signed the brokers' certificates")
    kafka_client_cert: str = Field("", description="PEM file with the client's certificate, for mutual TLS")
    kafka_client_key: str = Field("", description="PEM file with its key")
    kafka_client_key_password: SecretStr = Field(SecretStr(""), description="password of that key, where it has one")
    kafka_timeout_s: float = Field(30, gt=0, le=_HOUR, description="time for connecting and for each request")

    schema_registry_url: str = Field("", description="Schema Registry, for JSON_SR, AVRO and PROTOBUF from Kafka")
    schema_registry_user: str = Field("", description="its Basic authentication: user or API key")
    schema_registry_password: SecretStr = Field(SecretStr(""), description="its password or API secret")
    schema_registry_ca_file: str = Field("", description="PEM file with the CA that signed its certificate")

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        """Refuses combinations that the client would reject later with a message of its own, or silently ignore."""
        sasl, mechanism = self.kafka_security_protocol.startswith("SASL_"), self.kafka_sasl_mechanism
        if sasl and not mechanism:
            raise ValueError(f"KAFKA_SECURITY_PROTOCOL {self.kafka_security_protocol} needs KAFKA_SASL_MECHANISM")
        if mechanism and not sasl:
            raise ValueError("KAFKA_SASL_MECHANISM needs KAFKA_SECURITY_PROTOCOL SASL_SSL or SASL_PLAINTEXT")
        if mechanism == "OAUTHBEARER" and not (self.kafka_oauth_url and self.kafka_oauth_client):
            raise ValueError("KAFKA_SASL_MECHANISM OAUTHBEARER needs KAFKA_OAUTH_URL and KAFKA_OAUTH_CLIENT")
        if mechanism not in ("", "OAUTHBEARER") and not (self.kafka_user and self.kafka_password.get_secret_value()):
            raise ValueError(f"KAFKA_SASL_MECHANISM {mechanism} needs KAFKA_USER and KAFKA_PASSWORD")
        if bool(self.kafka_client_cert) != bool(self.kafka_client_key):
            raise ValueError("KAFKA_CLIENT_CERT and KAFKA_CLIENT_KEY belong together: give both")
        if not self.kafka_security_protocol.endswith("SSL") and (self.kafka_client_cert or self.kafka_ca_file):
            raise ValueError("TLS files of Kafka need KAFKA_SECURITY_PROTOCOL SSL or SASL_SSL")
        return self

    @model_validator(mode="after")
    def _addresses_are_some(self) -> Self:
        for server in self.kafka_bootstrap_servers.split(",") if self.kafka_bootstrap_servers else ():
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdecimal() or "/" in host or "@" in host:
                raise ValueError("KAFKA_BOOTSTRAP_SERVERS is not host:port with commas, e.g. broker-1:9092")
        if "@" in self.schema_registry_url:
            raise ValueError(
                "SCHEMA_REGISTRY_URL holds a user or password: give them as SCHEMA_REGISTRY_USER and so on"
            )
        if self.schema_registry_url and not _URL.fullmatch(self.schema_registry_url):
            raise ValueError("SCHEMA_REGISTRY_URL is not an http:// or https:// URL")
        return self

    def kafka_connection(self) -> Brokers | None:
        """The brokers; None where there are none to read from. Raises KafkaSettingsInvalid without Kafka's client."""
        if not self.kafka_bootstrap_servers:
            return None
        if find_spec("confluent_kafka") is None:
            raise KafkaSettingsInvalid(
                "KAFKA_BOOTSTRAP_SERVERS is set, and the package confluent-kafka is not installed",
                "python -m pip install -c requirements.lock '.[kafka]'",
            )
        return Brokers(
            servers=self.kafka_bootstrap_servers,
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            user=self.kafka_user,
            password=self.kafka_password.get_secret_value(),
            oauth_url=self.kafka_oauth_url,
            oauth_client=self.kafka_oauth_client,
            oauth_secret=self.kafka_oauth_secret.get_secret_value(),
            oauth_scope=self.kafka_oauth_scope,
            ca_file=self.kafka_ca_file,
            client_cert=self.kafka_client_cert,
            client_key=self.kafka_client_key,
            client_key_password=self.kafka_client_key_password.get_secret_value(),
            timeout_s=self.kafka_timeout_s,
        )

    def schema_registry(self) -> Registry | None:
        """The Schema Registry; None where there is none."""
        if not self.schema_registry_url:
            return None
        return Registry(
            url=self.schema_registry_url,
            user=self.schema_registry_user,
            password=self.schema_registry_password.get_secret_value(),
            ca_file=self.schema_registry_ca_file,
            timeout_s=self.kafka_timeout_s,
        )
