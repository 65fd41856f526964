"""Feeds' tables in a catalog of Iceberg: REST, Hive, Glue, SQL, whatever pyiceberg's own configuration names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg import exceptions
from pyiceberg.catalog import Catalog, load_catalog

from pipeline.errors import CatalogRefused
from pipeline.lake.published import Published

_THEIRS = [one for _, one in inspect.getmembers(exceptions, inspect.isclass) if issubclass(one, Exception)]
_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, ImportError, *_THEIRS)
_OF_CLIENTS = {"thrift.Thrift": ("TException",), "botocore.exceptions": ("BotoCoreError", "ClientError")}
"""Errors of the clients of Hive and Glue, which pyiceberg lets through; neither is installed with it."""


def open_catalog(name: str, namespace: str) -> Catalog:
    """The catalog of that name, with the namespace. Raises CatalogRefused."""
    with _errors_of(name):
        catalog = load_catalog(name)
        catalog.create_namespace_if_not_exists(namespace)
        return catalog


def register(catalog: Catalog, namespace: str, published: Published) -> None:
    """Lets the catalog's table of the feed's name show what was published. Raises CatalogRefused.

    Where the catalog cannot replace a table, it has none of that name for a moment.
    """
    table = (namespace, published.feed)
    with _errors_of(catalog.name):
        if catalog.table_exists(table):
            if catalog.load_table(table).metadata_location == published.metadata_location:
                return
            try:
                catalog.register_table(table, published.metadata_location, overwrite=True)
                return
            except (NotImplementedError, exceptions.TableAlreadyExistsError):
                # pyiceberg says the first of catalogs that cannot replace a table, REST servers (Iceberg's own 1.10)
                # the second where they know nothing of replacing
                catalog.drop_table(table)  # its files stay: they are the lake's
        catalog.register_table(table, published.metadata_location)


def _errors_of_clients() -> Iterator[type[Exception]]:
    """Those of the clients that were loaded."""
    for module, names in _OF_CLIENTS.items():
        if module in sys.modules:
            yield from (getattr(sys.modules[module], name) for name in names)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    try:
        yield
    except (*_ERRORS, *_errors_of_clients()) as error:
        raise CatalogRefused(
            f"the catalog {name!r}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            f"see what ~/.pyiceberg.yaml or PYICEBERG_CATALOG__{name.upper()}__URI say of it",
        ) from error
