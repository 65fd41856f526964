"""Whether Kafka and the Schema Registry can be read from here; topics and formats are checked with each feed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.errors import PipelineError, SchemaUnknown
from pipeline.kafka.connection import Brokers, Registry
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.topic import count_brokers
from pipeline.prerequisites import Check, ok
from pipeline.text import plural

_SOME_SCHEMA = 1


def check_kafka(brokers: Brokers, registry: Registry | None) -> Iterator[Check]:
    """The brokers answer this account; so does the registry, where one is set."""
    try:
        yield ok("kafka", f"{plural(count_brokers(brokers), 'broker')} at {brokers.servers}")
    except PipelineError as error:
        yield Check("kafka", "failed", error.message, error.hint)
    if registry is None:
        return
    try:
        with contextlib.suppress(SchemaUnknown):  # the registry answers and accepts this account
            RegistryClient(registry).schema(_SOME_SCHEMA)
        yield ok("schema registry", registry.url)
    except PipelineError as error:
        yield Check("schema registry", "failed", error.message, error.hint)
