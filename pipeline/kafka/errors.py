"""Errors of Kafka's client as errors by what to do next; the client's own messages are not shown.

The client reports most errors to a callback, and the call itself only times out: so `Troubles` collects what the
callback gets.
"""

from __future__ import annotations

import re

from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import KafkaRefused, KafkaSettingsInvalid, KafkaUnreachable, PipelineError, TopicGone

_CREDENTIALS = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.ILLEGAL_SASL_STATE)
_PROTOCOL = (KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)
_RIGHTS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_LASTING = (*_CREDENTIALS, *_PROTOCOL, *_RIGHTS, KafkaError._SSL)
_REFUSED_CERTIFICATE = re.compile(r"SSL alert number (4[2-689]|116)\b")
"""A broker's TLS alerts about the client's certificate, or a missing one (RFC 8446, 6.2)."""
_NO_CONCERN = (KafkaError.GROUP_AUTHORIZATION_FAILED,)  # the client looks for a group coordinator, but joins no group
GONE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_ID,
)


class Troubles:
    """The errors that a client of `topic` reported to its callback; pass `hear` to it as `error_cb`."""

    def __init__(self, topic: str, servers: str) -> None:
        self._topic, self._servers = topic, servers
        self._lasting: int | None = None

    def hear(self, error: KafkaError) -> None:
        if error.code() in _LASTING:
            self._lasting = error.code()
        elif error.code() == KafkaError._TRANSPORT and _REFUSED_CERTIFICATE.search(error.str()):
            self._lasting = KafkaError._SSL

    def raise_lasting(self) -> None:
        """Raises KafkaRefused if an error was reported that will not pass by itself."""
        if self._lasting is not None:
            raise translated(self._lasting, self._topic, self._servers)

    def error(self, raised: KafkaException | KafkaError) -> PipelineError:
        """Our error for one that a call of the client raised, or that a message holds."""
        found = raised.args[0] if isinstance(raised, KafkaException) else raised
        code = found.code() if isinstance(found, KafkaError) else KafkaError._FAIL
        return translated(code, self._topic, self._servers)


def is_lasting(error: KafkaError) -> bool:
    """Whether the error will not pass by itself."""
    return error.code() in _LASTING


def translated(code: int, topic: str, servers: str) -> PipelineError:
    """The error for a code of librdkafka or of a broker."""
    if code in GONE:
        return TopicGone(
            f"Kafka at {servers} has no topic {topic}; the lake keeps the rows that it has",
            "if it was deleted, archive its feed (manage_feeds.py archive); else correct KAFKA_BOOTSTRAP_SERVERS",
        )
    if code in _RIGHTS:
        return KafkaRefused(
            f"the account of Kafka may not read the topic {topic}",
            f"give it READ and DESCRIBE on the topic {topic}; no right on a group is needed",
        )
    if code in _CREDENTIALS:
        return KafkaRefused(
            f"Kafka at {servers} refuses the credentials",
            "correct KAFKA_USER and KAFKA_PASSWORD, or KAFKA_OAUTH_CLIENT and KAFKA_OAUTH_SECRET",
        )
    if code == KafkaError._INVALID_ARG:
        return KafkaSettingsInvalid(
            "Kafka's client does not take its settings: a certificate or key cannot be read, or its password is wrong",
            "correct KAFKA_CA_FILE, KAFKA_CLIENT_CERT, KAFKA_CLIENT_KEY and KAFKA_CLIENT_KEY_PASSWORD",
        )
    if code == KafkaError._SSL:
        return KafkaRefused(
            f"no TLS connection to Kafka at {servers}: a certificate is missing or not trusted, or one side has no TLS",
            "correct KAFKA_SECURITY_PROTOCOL, KAFKA_CA_FILE, KAFKA_CLIENT_CERT and KAFKA_CLIENT_KEY",
        )
    if code in _PROTOCOL:
        return KafkaRefused(
            f"Kafka at {servers} does not speak as it was asked to ({KafkaError(code).name()})",
            "correct KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_MECHANISM; Kafka 2.1 or newer is needed",
        )
    return KafkaUnreachable(
        f"Kafka at {servers} does not answer ({KafkaError(code).name()})",
        "see whether the brokers run and KAFKA_BOOTSTRAP_SERVERS names them, then run the same command again",
    )
