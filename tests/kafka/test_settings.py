"""Settings of Kafka: what they become for its client, what is refused, and that secrets stay secret."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import data_lake_config
from data_lake_config import Settings, load_settings
from pipeline.errors import KafkaSettingsInvalid, SettingsInvalid
from pipeline.kafka.connection import Brokers
from test_setup import run_checks
from tests.integration.commands import ran

SCRAM = {
    "kafka_bootstrap_servers": "broker-1:9093,broker-2:9093",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_user": "reader",
    "kafka_password": "hunter2",
}
OAUTH = {
    "kafka_bootstrap_servers": "broker-1:9093",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_url": "https://login.example/token",
    "kafka_oauth_client": "lake",
    "kafka_oauth_secret": "hunter2",
}


def brokers(**given: str) -> Brokers:
    found = Settings.model_validate(given).kafka_connection()
    assert found is not None
    return found


def test_without_bootstrap_servers_there_is_no_kafka() -> None:
    assert Settings().kafka_connection() is None
    assert Settings().schema_registry() is None


def test_brokers_without_their_client_say_how_it_is_installed(lake_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kafka.settings.find_spec", lambda _name: None)
    settings = Settings(kafka_bootstrap_servers="broker-1:9092", lake_root=str(lake_root))

    with pytest.raises(KafkaSettingsInvalid, match="confluent-kafka is not installed") as raised:
        settings.kafka_connection()
    monkeypatch.setattr(data_lake_config, "load_settings", lambda _tell: settings)
    (check,) = [check for check in run_checks(with_mysql=False) if check.name == "kafka"]

    assert raised.value.hint == "python -m pip install -c requirements.lock '.[kafka]'"
    assert (check.state, check.hint) == ("failed", raised.value.hint)


def test_a_secret_is_in_the_options_of_the_client_and_in_no_repr() -> None:
    for given, option in ((SCRAM, "sasl.password"), (OAUTH, "sasl.oauthbearer.client.secret")):
        made = brokers(**given)

        assert made.options()[option] == "hunter2"
        assert "hunter2" not in repr(made)
        assert pickle.loads(pickle.dumps(made)) == made


def test_mutual_tls_needs_files_that_can_be_read(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("kafka_ca_file", "kafka_client_cert", "kafka_client_key")}
    made = brokers(kafka_bootstrap_servers="broker-1:9093", kafka_security_protocol="SSL", **files)

    with pytest.raises(KafkaSettingsInvalid, match=r"KAFKA_CA_FILE: .*kafka_ca_file cannot be read"):
        made.options()
    for path in files.values():
        Path(path).write_text("PEM", encoding="utf-8")
    assert made.options()["ssl.key.location"] == files["kafka_client_key"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (SCRAM | {"kafka_sasl_mechanism": ""}, "KAFKA_SECURITY_PROTOCOL SASL_SSL needs KAFKA_SASL_MECHANISM"),
        (SCRAM | {"kafka_security_protocol": "SSL"}, "KAFKA_SASL_MECHANISM needs KAFKA_SECURITY_PROTOCOL SASL_SSL"),
        (SCRAM | {"kafka_password": ""}, "SCRAM-SHA-512 needs KAFKA_USER and KAFKA_PASSWORD"),
        (SCRAM | {"kafka_sasl_mechanism": "GSSAPI"}, "KAFKA_SASL_MECHANISM must be"),
        (OAUTH | {"kafka_oauth_url": ""}, "OAUTHBEARER needs KAFKA_OAUTH_URL and KAFKA_OAUTH_CLIENT"),
        ({"kafka_client_cert": "/a", "kafka_security_protocol": "SSL"}, "belong together"),
        ({"kafka_ca_file": "/a"}, "TLS files of Kafka need KAFKA_SECURITY_PROTOCOL SSL"),
        ({"kafka_bootstrap_servers": "broker-1"}, "KAFKA_BOOTSTRAP_SERVERS is not host:port"),
        ({"kafka_bootstrap_servers": "kafka://b:9092"}, "KAFKA_BOOTSTRAP_SERVERS is not host:port"),
        ({"schema_registry_url": "registry:8081"}, "SCHEMA_REGISTRY_URL is not an http"),
        ({"schema_registry_url": "http://u:hunter2@registry"}, "SCHEMA_REGISTRY_URL holds a user or password"),
        ({"schema_registry_url": "http://[registry"}, "SCHEMA_REGISTRY_URL is not an http"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name.upper(), value)

    with pytest.raises(SettingsInvalid) as raised:
        load_settings()

    assert said in raised.value.message
    assert "hunter2" not in raised.value.message


def test_secrets_come_from_files_and_are_shown_masked(
    tmp_path: Path, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_lake_config, "ENV_FILE", tmp_path / ".env")
    (tmp_path / "secret").write_text("hunter2\n", encoding="utf-8")
    names = ("KAFKA_PASSWORD", "KAFKA_OAUTH_SECRET", "KAFKA_CLIENT_KEY_PASSWORD", "SCHEMA_REGISTRY_PASSWORD")
    for name in names:
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))

    settings = load_settings()
    shown = ran(lake_root, "data_lake_config").stdout

    for name in names:
        assert getattr(settings, name.lower()).get_secret_value() == "hunter2"
        assert f"{name}=********" in shown
    assert "hunter2" not in shown
