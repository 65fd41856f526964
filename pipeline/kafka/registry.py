"""Reads schemas from the Schema Registry by their numbers; nothing is registered.

Confluent's client is used, which caches schemas and retries. A registry that does not answer is an error to try later;
one that refuses, or does not have a schema, needs a person.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RegistryRefused, RegistryUnreachable, SchemaUnknown
from pipeline.kafka.connection import Registry

_RETRIES = 2


@dataclass(frozen=True)
class Reference:
    """A schema that another schema imports under this `name`."""

    name: str
    schema: RegisteredSchema


@dataclass(frozen=True)
class RegisteredSchema:
    """A registered schema; for Protobuf `text` is a serialized FileDescriptorProto in base64."""

    text: str
    references: tuple[Reference, ...] = ()


class RegistryClient:
    """Connects at the first request, so that it can be pickled."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._client: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_registry": self._registry, "_client": None}

    def schema(self, number: int, form: str | None = None) -> RegisteredSchema:
        """The schema with this number; `form` is `serialized` for Protobuf.

        Raises RegistryUnreachable, RegistryRefused or SchemaUnknown.
        """
        with self._understood(f"the schema {number}"):
            found = self._open().get_schema(number, fmt=form)
            return self._with_references(found, form)

    def _with_references(self, schema: Any, form: str | None) -> RegisteredSchema:
        return RegisteredSchema(
            schema.schema_str,
            tuple(
                Reference(each.name, self._with_references(self._version(each, form), form))
                for each in schema.references or ()
            ),
        )

    def _version(self, reference: Any, form: str | None) -> Any:
        return self._open().get_version(reference.subject, reference.version, deleted=True, fmt=form).schema

    def _open(self) -> Any:
        from confluent_kafka.schema_registry import SchemaRegistryClient

        if self._client is None:
            registry = self._registry
            conf: dict[str, Any] = {"url": registry.url, "timeout": registry.timeout_s, "max.retries": _RETRIES}
            if registry.user:
                conf["basic.auth.user.info"] = f"{registry.user}:{registry.password}"
            if registry.ca_file:
                conf["ssl.ca.location"] = registry.ca_file
            self._client = SchemaRegistryClient.new_client(conf)
        return self._client

    @contextlib.contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:  # the client comes with one of the two
            import httpx2 as httpx
        except ModuleNotFoundError:
            import httpx  # type: ignore[no-redef,import-not-found] # only one is installed
        where = f"the Schema Registry at {self._registry.url}"
        try:
            yield
        except SchemaRegistryError as error:
            status = error.http_status_code
            if status == 404:
                raise SchemaUnknown(
                    f"{where} does not have {what}, which a record names",
                    "check that SCHEMA_REGISTRY_URL is the registry that the records' producers use",
                ) from None
            if status == 429 or status >= 500:
                raise RegistryUnreachable(f"{where} answers with the status {status}", _LATER) from None
            raise RegistryRefused(
                f"{where} refuses {what} with the status {status}",
                "check SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD, and the user's right to read the schemas",
            ) from None
        except httpx.TransportError as error:
            raise RegistryUnreachable(f"{where} cannot be reached: {type(error).__name__}", _LATER) from None
        except (httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryRefused(
                f"{where} gives no answer that can be used for {what}: {type(error).__name__}",
                "check SCHEMA_REGISTRY_URL, and SCHEMA_REGISTRY_CA_FILE if it is set",
            ) from None


_LATER = "look at the registry, then run the same command again"
