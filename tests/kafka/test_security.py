"""Exports from a real broker by each way to be let in, and what is said, and checked beforehand, where one is not."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its own list
    AclOperation,
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from demo.private_kafka import Listener, running_kafka
from demo.private_process import ServerMissing
from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import PATIENCE_S, Emulator, comes_true, running
from tests.integration.commands import ran
from tests.integration.small_sources import START_MS, a_stream
from tests.kafka.test_readiness import allow, checked
from tests.kafka.topics import new_topic, producer
from tests.support import feed_for, lake_at

pytestmark = pytest.mark.server  # a broker of its own

SECRET = "a reader's secret"
LOGIN = "org.apache.kafka.common.security."
REFUSED, NO_TLS, NO_RIGHT = "refuses the credentials", "no TLS connection to Kafka", "may not read the topic"
FEED = feed_for(a_stream([]))


@dataclass(frozen=True)
class Site:
    """A broker where a topic has three rows, that `reader` may read and `stranger` may not."""

    emulator: Emulator
    files: Path
    secure: str
    tls: str
    tokens: str

    def env(self, way: str, **changes: str) -> dict[str, str]:
        """The settings of one of the ways; `changes` are of their values, empty where a setting is not made."""
        files = self.files
        common = {"KSQLDB_URL": self.emulator.url, "KAFKA_TIMEOUT_S": "60", "KAFKA_CA_FILE": str(files / "ca.pem")}
        sasl = {"KAFKA_BOOTSTRAP_SERVERS": self.secure, "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
        user = {"KAFKA_USER": "reader", "KAFKA_PASSWORD_FILE": str(files / "secret")}
        certificate = {"KAFKA_CLIENT_CERT": str(files / "reader.pem"), "KAFKA_CLIENT_KEY": str(files / "reader.key")}
        oauth = {"KAFKA_OAUTH_CLIENT": "reader", "KAFKA_OAUTH_URL": self.tokens}
        ways = {
            "TLS": {"KAFKA_BOOTSTRAP_SERVERS": self.tls, "KAFKA_SECURITY_PROTOCOL": "SSL", **certificate,
                    "KAFKA_CLIENT_KEY_PASSWORD_FILE": str(files / "secret")},
            "OAUTHBEARER": sasl | oauth | {"KAFKA_OAUTH_SECRET_FILE": str(files / "secret")},
        }  # fmt: skip
        chosen = ways.get(way) or sasl | user
        mechanism = {} if way == "TLS" else {"KAFKA_SASL_MECHANISM": way}
        return {name: value for name, value in (common | chosen | mechanism | changes).items() if value}


def pem_key(key: bytes, protection: KeySerializationEncryption) -> bytes:
    """In the one form that Java reads."""
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def made_certificates(folder: Path) -> None:
    """Of the CA, of the broker with its key, of `reader` with a key that has a password; and the secret as a file."""
    ca = trustme.CA()
    broker, reader = ca.issue_cert("127.0.0.1"), ca.issue_cert("reader@example.com", common_name="reader")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    chain = b"".join(blob.bytes() for blob in broker.cert_chain_pems)
    (folder / "broker.pem").write_bytes(pem_key(broker.private_key_pem.bytes(), NoEncryption()) + chain)
    (folder / "reader.pem").write_bytes(b"".join(blob.bytes() for blob in reader.cert_chain_pems))
    protection = BestAvailableEncryption(SECRET.encode())
    (folder / "reader.key").write_bytes(pem_key(reader.private_key_pem.bytes(), protection))
    (folder / "secret").write_text(f"{SECRET}\n", encoding="utf-8")


def listeners(folder: Path) -> dict[str, Listener]:
    tls = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
    }
    users = f'user_reader="{SECRET}" user_stranger="{SECRET}"'
    secure = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "plain.sasl.jaas.config": f"{LOGIN}plain.PlainLoginModule required {users};",
        "scram-sha-256.sasl.jaas.config": f"{LOGIN}scram.ScramLoginModule required;",
        "scram-sha-512.sasl.jaas.config": f"{LOGIN}scram.ScramLoginModule required;",
        "oauthbearer.sasl.jaas.config": f"{LOGIN}oauthbearer.OAuthBearerLoginModule required;",
    }
    mutual = {"ssl.client.auth": "required", "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/"}
    return {"SECURE": Listener("SASL_SSL", tls | secure), "TLS": Listener("SSL", tls | mutual)}


class _Tokens(http.server.BaseHTTPRequestHandler):
    """An OIDC token endpoint that knows the reader; its tokens are not signed, which the broker accepts here."""

    def do_POST(self) -> None:
        known = f"Basic {base64.b64encode(f'reader:{SECRET}'.encode()).decode()}"
        is_known = self.headers.get("Authorization") == known
        claims = {"sub": "reader", "iat": int(time.time()), "exp": int(time.time()) + 3600}
        parts = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in ({"alg": "none"}, claims))
        token = ".".join(part.decode().rstrip("=") for part in parts) + "."
        answer = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        body = json.dumps(answer if is_known else {"error": "invalid_client"}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("secured")
    made_certificates(folder)
    tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    try:
        with running_kafka(folder, listeners(folder)) as broker, running(Dataset([a_stream([])])) as emulator:
            emulator.replace_source(replace(a_stream([]), topic=filled_topic(broker.servers)))
            url = f"http://127.0.0.1:{tokens.server_port}"
            yield Site(emulator, folder, broker.servers_at("SECURE"), broker.servers_at("TLS"), url)
    except ServerMissing as error:
        pytest.skip(str(error))
    finally:
        tokens.shutdown()
        tokens.server_close()


def filled_topic(servers: str) -> str:
    """With the rules, and the passwords of SCRAM, that take a moment to be known."""
    topic, client = new_topic(servers), producer(servers)
    for number in range(3):
        client.produce(topic, json.dumps({"ID": number, "TEXT": "v"}).encode(), None, 0, timestamp=START_MS)
    assert client.flush(60) == 0
    allow(servers, "reader", topic, AclOperation.READ)
    admin = AdminClient({"bootstrap.servers": servers})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        wanted = UserScramCredentialUpsertion("reader", ScramCredentialInfo(mechanism, 4096), SECRET.encode())
        for answer in admin.alter_user_scram_credentials([wanted]).values():
            answer.result(PATIENCE_S)
    described = admin.describe_user_scram_credentials(["reader"])["reader"]
    assert comes_true(lambda: len(described.result(PATIENCE_S).scram_credential_infos) == 2)
    return topic


@pytest.mark.parametrize("way", ["TLS", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_whoever_is_let_in_and_may_read_gets_every_row(site: Site, lake_root: Path, way: str) -> None:
    lake_at(lake_root).feeds.save(FEED)

    done = ran(lake_root, "export_to_data_lake", "--stream", "s", env=site.env(way))
    check = checked(lake_root, site.emulator, site.env(way))

    assert "s: 3 rows; " in done.output
    assert check["kafka"][0] == check["feed s"][0] == "ok"


@pytest.mark.parametrize(
    ("way", "changes", "said", "hint"),
    [
        ("PLAIN", {"KAFKA_PASSWORD_FILE": "", "KAFKA_PASSWORD": "wrong!"}, REFUSED, "KAFKA_PASSWORD"),
        ("SCRAM-SHA-256", {"KAFKA_USER": "stranger"}, REFUSED, "KAFKA_USER"),
        ("SCRAM-SHA-512", {"KAFKA_PASSWORD_FILE": "", "KAFKA_PASSWORD": "wrong!"}, REFUSED, "KAFKA_PASSWORD"),
        ("OAUTHBEARER", {"KAFKA_OAUTH_SECRET_FILE": "", "KAFKA_OAUTH_SECRET": "wrong!"}, REFUSED, "KAFKA_OAUTH_SECRET"),
        ("PLAIN", {"KAFKA_CA_FILE": "other-ca.pem"}, NO_TLS, "KAFKA_CA_FILE"),
        ("TLS", {"KAFKA_CLIENT_CERT": "", "KAFKA_CLIENT_KEY": ""}, NO_TLS, "KAFKA_CLIENT_CERT"),
        (
            "TLS",
            {"KAFKA_CLIENT_KEY_PASSWORD_FILE": "", "KAFKA_CLIENT_KEY_PASSWORD": "wrong!"},
            "password is wrong",
            "KAFKA_CLIENT_KEY",
        ),
        ("PLAIN", {"KAFKA_USER": "stranger"}, NO_RIGHT, "READ and DESCRIBE"),
    ],
)
def test_whoever_is_not_is_told_what_to_correct(
    site: Site, lake_root: Path, way: str, changes: Mapping[str, str], said: str, hint: str
) -> None:
    lake_at(lake_root).feeds.save(FEED)
    given = {name: str(site.files / value) if value.endswith(".pem") else value for name, value in changes.items()}
    env = site.env(way, **given)

    done = ran(lake_root, "export_to_data_lake", "--stream", "s", code=1, env=env)
    checks = checked(lake_root, site.emulator, env)

    state, detail, advice = checks["feed s" if said == NO_RIGHT else "kafka"]
    assert state == "failed"
    assert said in detail
    assert hint in advice
    assert detail in done.output.replace("\n", " ")
    assert "wrong!" not in done.output + str(checks)
    assert SECRET not in done.output + str(checks)
