"""`test_setup.py` with Kafka: brokers, rights, registry and the formats of feeds, one line and one hint a check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from demo.definitions import build
from demo.private_process import free_port
from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.testing import Emulator, running
from tests.integration.commands import command
from tests.kafka.topics import new_topic
from tests.support import feed_for, lake_at

READ, DESCRIBE = AclOperation.READ, AclOperation.DESCRIBE


def allow(servers: str, user: str, topic: str, right: AclOperation) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    rule = AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*", right, AclPermissionType.ALLOW
    )
    for answer in admin.create_acls([rule]).values():
        answer.result(60)


def as_user(name: str, servers: str, password: str = "") -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_USER": name,
        "KAFKA_PASSWORD": password or name,
    }


def stream_over(topic: str, root: Path, **changes: str) -> Dataset:
    source = replace(build([]).source("TRANSACTION_STREAM"), topic=topic, read_queries=(), **changes)
    lake_at(root).feeds.save(feed_for(source))
    return Dataset([source])


def checked(root: Path, server: Emulator, env: Mapping[str, str]) -> dict[str, tuple[str, str, str]]:
    given = {"KSQLDB_URL": server.url, "KAFKA_TIMEOUT_S": "60", **env}
    done = command(root, "test_setup", "--no-mysql", "--json", env=given)
    checks = json.loads(done.stdout)["checks"]
    return {check["name"]: (check["state"], check["detail"], check["hint"]) for check in checks}


def test_rights_to_read_the_topic_are_enough_and_others_are_not(
    kafka: str, kafka_for_users: str, lake_root: Path
) -> None:
    topic = new_topic(kafka, 3)
    allow(kafka, "reader", topic, READ)
    allow(kafka, "stranger", topic, DESCRIBE)

    with running(stream_over(topic, lake_root)) as server:
        reader = checked(lake_root, server, as_user("reader", kafka_for_users))
        stranger = checked(lake_root, server, as_user("stranger", kafka_for_users))
        wrong = checked(lake_root, server, as_user("reader", kafka_for_users, "wrong"))

    assert reader["kafka"] == ("ok", f"1 broker at {kafka_for_users}", "")
    assert reader["feed transaction_stream"][0] == "ok"
    assert stranger["kafka"][0] == "ok"
    assert stranger["feed transaction_stream"] == (
        "failed",
        f"the account of Kafka may not read the topic {topic}",
        f"give it READ and DESCRIBE on the topic {topic}; no right on a group is needed",
    )
    assert wrong["kafka"][:2] == ("failed", f"Kafka at {kafka_for_users} refuses the credentials")


def test_a_format_that_needs_the_registry_is_reported_before_a_row_is_due(kafka: str, lake_root: Path) -> None:
    topic, gone = new_topic(kafka), f"http://127.0.0.1:{free_port()}"

    with running(stream_over(topic, lake_root, value_format="AVRO")) as server:
        without = checked(lake_root, server, {"KAFKA_BOOTSTRAP_SERVERS": kafka})
        silent = checked(lake_root, server, {"KAFKA_BOOTSTRAP_SERVERS": kafka, "SCHEMA_REGISTRY_URL": gone})

    assert without["feed transaction_stream"][2] == "set SCHEMA_REGISTRY_URL"
    assert "schema registry" not in without
    assert silent["schema registry"][:2] == (
        "failed",
        f"the Schema Registry at {gone} cannot be reached: ConnectError",
    )
    assert silent["feed transaction_stream"][0] == "ok"


@pytest.mark.server
def test_brokers_that_do_not_answer_are_one_line(lake_root: Path) -> None:
    servers = f"127.0.0.1:{free_port()}"

    with running(build([])) as server:
        found = checked(lake_root, server, {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_TIMEOUT_S": "1"})

    state, detail, hint = found["kafka"]
    assert (state, detail) == ("failed", f"Kafka at {servers} does not answer (_TIMED_OUT)")
    assert "KAFKA_BOOTSTRAP_SERVERS" in hint
