"""The addresses and credentials of Kafka's brokers and the Schema Registry, as plain values that can be pickled.

Nothing here opens a connection or imports Kafka's client. Facts: librdkafka's CONFIGURATION.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pipeline.errors import KafkaSettingsInvalid


@dataclass(frozen=True)
class Brokers:
    """How to reach a Kafka cluster.

    `servers` are `host:port` with commas, `protocol` and `mechanism` as Kafka names them (SASL_SSL, SCRAM-SHA-512). The
    files are PEM. `timeout_s` limits connecting and each request for metadata or offsets.
    """

    servers: str
    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    oauth_url: str = ""
    oauth_client: str = ""
    oauth_secret: str = field(default="", repr=False)
    oauth_scope: str = ""
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    client_key_password: str = field(default="", repr=False)
    timeout_s: float = 30

    def options(self) -> dict[str, str | int]:
        """The settings of librdkafka that any client of these brokers needs.

        Raises KafkaSettingsInvalid for a file that cannot be read.
        """
        given = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.user,
            "sasl.password": self.password,
            "ssl.ca.location": _readable("KAFKA_CA_FILE", self.ca_file),
            "ssl.certificate.location": _readable("KAFKA_CLIENT_CERT", self.client_cert),
            "ssl.key.location": _readable("KAFKA_CLIENT_KEY", self.client_key),
            "ssl.key.password": self.client_key_password,
        }
        if self.mechanism == "OAUTHBEARER":
            given |= {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": self.oauth_url,
                "sasl.oauthbearer.client.id": self.oauth_client,
                "sasl.oauthbearer.client.secret": self.oauth_secret,
                "sasl.oauthbearer.scope": self.oauth_scope,
                "https.ca.location": self.ca_file,
            }
        limits = {"socket.connection.setup.timeout.ms": max(1000, round(self.timeout_s * 1000))}
        return {name: value for name, value in given.items() if value} | limits


@dataclass(frozen=True)
class Registry:
    """Where the Schema Registry is: its URL, Basic authentication, and the PEM file of the CA that signed its TLS."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_s: float = 30


def _readable(setting: str, path: str) -> str:
    if path and not os.access(path, os.R_OK):
        raise KafkaSettingsInvalid(f"{setting}: {path} cannot be read", "name a PEM file that this user can read")
    return path
