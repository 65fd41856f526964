"""A topic at this moment: its id, and the first offset and end of each partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, OffsetSpec  # type: ignore[attr-defined] # not in its own list

from pipeline.kafka.connection import Brokers
from pipeline.kafka.errors import Troubles, translated
from pipeline.source import Offsets

QUIET: Mapping[str, Any] = {"log_level": 0}
"""Discards the client's own log, which would go to the terminal; its errors are reported in our words."""

_LOOK_S = 0.05
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call] # it has no types
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call] # it has no types


@dataclass(frozen=True)
class Topic:
    """A topic at one moment. `id` is empty where the brokers do not report it (before Kafka 2.8).

    The ends are those of committed records: an open transaction, and all records after its begin, lie after the end.
    """

    name: str
    id: str
    offsets: Mapping[int, Offsets]


def look_at(brokers: Brokers, name: str) -> Topic:
    """The topic now; a missing topic is never created. Raises TopicGone, KafkaRefused, KafkaUnreachable."""
    troubles = Troubles(name, brokers.servers)
    try:
        options: dict[str, Any] = {**brokers.options(), **QUIET, "error_cb": troubles.hear}
        admin = AdminClient(options)
        asked = admin.describe_topics(
            TopicCollection([name]), include_authorized_operations=True, request_timeout=brokers.timeout_s
        )
        described = _answer(admin, asked[name], troubles)
        _refuse_unreadable(described.authorized_operations, name, brokers)
        partitions = sorted(partition.id for partition in described.partitions)

        def ask(spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
            answers = admin.list_offsets(
                {TopicPartition(name, partition): spec for partition in partitions},
                isolation_level=isolation,
                request_timeout=brokers.timeout_s,
            )
            return {place.partition: _answer(admin, answer, troubles).offset for place, answer in answers.items()}

        # In this order: records that arrive in between can only lie after an end, never before a start.
        starts = ask(_EARLIEST, IsolationLevel.READ_COMMITTED)
        ends = ask(_LATEST, IsolationLevel.READ_COMMITTED)
        written = ask(_LATEST, IsolationLevel.READ_UNCOMMITTED)
    except KafkaException as error:
        raise troubles.error(error) from None
    offsets = {p: Offsets(starts[p], max(starts[p], ends[p]), ends[p], written[p]) for p in partitions}
    return Topic(name, _text(described.topic_id), offsets)


def count_brokers(brokers: Brokers) -> int:
    """How many brokers the cluster has. Raises KafkaRefused, KafkaUnreachable."""
    troubles = Troubles("", brokers.servers)
    try:
        options: dict[str, Any] = {**brokers.options(), **QUIET, "error_cb": troubles.hear}
        admin = AdminClient(options)
        return len(_answer(admin, admin.describe_cluster(request_timeout=brokers.timeout_s), troubles).nodes)
    except KafkaException as error:
        raise troubles.error(error) from None


def _refuse_unreadable(rights: Sequence[AclOperation] | None, name: str, brokers: Brokers) -> None:
    """Raises KafkaRefused without the right to read, also where no rows are due; not for brokers before Kafka 2.3."""
    if rights and AclOperation.READ not in rights:
        raise translated(KafkaError.TOPIC_AUTHORIZATION_FAILED, name, brokers.servers)


def _answer(admin: AdminClient, answer: Future[Any], troubles: Troubles) -> Any:
    """The result of a request; ends early on lasting errors, because the client retries wrong credentials until it
    times out.
    """
    while not answer.done():
        admin.poll(_LOOK_S)
        troubles.raise_lasting()
    return answer.result()


def _text(topic_id: Any) -> str:
    """The id as Kafka's own tools print it; empty if there is none (an old broker's answer becomes the id 0)."""
    if topic_id is None or not (topic_id.get_most_significant_bits() or topic_id.get_least_significant_bits()):
        return ""
    return str(topic_id)
