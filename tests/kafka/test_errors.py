"""What the client says of trouble, in our words, with an exit code by whether a person must act."""

from __future__ import annotations

import contextlib

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import KafkaRefused, KafkaSettingsInvalid, KafkaUnreachable, PipelineError, TopicGone
from pipeline.kafka.errors import Troubles

RAW = "sasl.password=hunter2 [thrd:broker-1/bootstrap]"


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        (KafkaError._TIMED_OUT, KafkaUnreachable, 75),
        (KafkaError._ALL_BROKERS_DOWN, KafkaUnreachable, 75),
        (KafkaError.LEADER_NOT_AVAILABLE, KafkaUnreachable, 75),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicGone, 1),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaRefused, 1),
        (KafkaError._AUTHENTICATION, KafkaRefused, 1),
        (KafkaError._SSL, KafkaRefused, 1),
        (KafkaError._INVALID_ARG, KafkaSettingsInvalid, 1),
        (KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaRefused, 1),
    ],
)
def test_an_error_of_the_client_says_what_to_do_and_not_what_it_said(
    code: int, kind: type[PipelineError], exit_code: int
) -> None:
    found = Troubles("orders", "broker-1:9092").error(KafkaException(KafkaError(code, RAW)))

    assert isinstance(found, kind)
    assert found.exit_code == exit_code
    assert found.hint
    assert "hunter2" not in f"{found.message} {found.hint}"


def test_only_what_does_not_pass_by_itself_is_raised_when_it_is_heard() -> None:
    troubles = Troubles("orders", "broker-1:9092")
    for code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError.GROUP_AUTHORIZATION_FAILED):
        troubles.hear(KafkaError(code, RAW))
        troubles.raise_lasting()

    troubles.hear(KafkaError(KafkaError._AUTHENTICATION, RAW))

    with pytest.raises(KafkaRefused, match="refuses the credentials"):
        troubles.raise_lasting()


@pytest.mark.parametrize(("alert", "lasts"), [(42, True), (48, True), (116, True), (40, False), (80, False)])
def test_a_certificate_that_the_broker_refuses_does_not_pass_by_itself(alert: int, lasts: bool) -> None:
    troubles = Troubles("orders", "broker-1:9092")
    troubles.hear(
        KafkaError(KafkaError._TRANSPORT, f"Receive failed: SSL routines:: alert: SSL alert number {alert} (..")
    )

    with pytest.raises(KafkaRefused, match="certificate is missing") if lasts else contextlib.nullcontext():
        troubles.raise_lasting()
