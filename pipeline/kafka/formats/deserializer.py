"""The reader for a format by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.columns import SqlType, arrow_type
from pipeline.errors import KafkaSettingsInvalid, TypeNotSupported
from pipeline.kafka.formats.delimited import DelimitedDeserializer
from pipeline.kafka.formats.json_payloads import JsonDeserializer
from pipeline.kafka.formats.payload import Deserializer, Payload
from pipeline.kafka.formats.primitive import KafkaDeserializer, NoneDeserializer
from pipeline.kafka.registry import RegistryClient


def deserializer(payload: Payload, registry: RegistryClient | None) -> Deserializer:
    """The reader for these payloads; `registry` provides the schemas of AVRO and PROTOBUF by their numbers.

    Raises TypeNotSupported or ColumnNamesCollide for columns that the lake or the format cannot hold, and
    KafkaSettingsInvalid where a registry is needed and none is set.
    """
    if payload.format == "NONE" or not payload.columns:
        return NoneDeserializer()
    arrow_type(SqlType("STRUCT", fields=payload.columns))
    if not payload.wrapped and len(payload.columns) > 1:
        payload = replace(payload, wrapped=True)
    if payload.format in ("JSON", "JSON_SR"):
        _refuse_maps(payload)
        return JsonDeserializer(payload)
    if payload.format == "DELIMITED":
        return DelimitedDeserializer(payload)
    if payload.format == "KAFKA":
        return KafkaDeserializer(payload)
    if payload.format == "PROTOBUF_NOSR":
        _refuse_maps(payload)
        from pipeline.kafka.formats.protobuf import ColumnsDeserializer  # imports google.protobuf

        return ColumnsDeserializer(payload)
    if registry is None:
        raise KafkaSettingsInvalid(
            f"records in {payload.format} cannot be read without the Schema Registry", "set SCHEMA_REGISTRY_URL"
        )
    if payload.format == "AVRO":
        from pipeline.kafka.formats.avro import avro_deserializer  # imports fastavro

        return avro_deserializer(payload, registry)
    _refuse_maps(payload)
    from pipeline.kafka.formats.protobuf import protobuf_deserializer

    return protobuf_deserializer(payload, registry)


def _refuse_maps(payload: Payload) -> None:
    """Raises TypeNotSupported for a map whose keys are not STRING, which ksqlDB allows in AVRO only."""
    for name, type_ in payload.columns:
        for inner in _types_in(type_):
            if inner.key and inner.key.base != "STRING":
                raise TypeNotSupported(
                    f"column {name}: {payload.format} cannot hold a map with {inner.key} keys",
                    "report this with the statement that made the stream or table",
                )


def _types_in(type_: SqlType) -> Iterator[SqlType]:
    yield type_
    for inner in [type_.element] if type_.element else [field for _, field in type_.fields]:
        if inner:
            yield from _types_in(inner)
