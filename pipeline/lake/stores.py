"""Where a lake is: its URL as a store."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import SettingsInvalid
from pipeline.lake.access import StoreAccess
from pipeline.lake.local_staging import default_staging
from pipeline.lake.local_store import LocalStore, lake_folder
from pipeline.lake.store import Store

_OBJECTS = re.compile(r"(?P<scheme>s3|gs|az)://(?P<bucket>[^/]*)/?(?P<prefix>.*)", re.DOTALL)
_PLAIN = re.compile(r"[\w .=@,+~-]+", re.ASCII)


def open_store(url: str, access: StoreAccess) -> Store:
    """The store at a path, a `file://` URL, or `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`.

    Nothing is connected yet. Raises LakeNotWritable and SettingsInvalid.
    """
    match = _OBJECTS.fullmatch(url)
    if match is None:
        return LocalStore(lake_folder(url))
    scheme, bucket, prefix = match["scheme"], match["bucket"], match["prefix"].strip("/")
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,221}", bucket) is None:
        raise SettingsInvalid(
            f"the lake's root {url!r} names no bucket", f"write {scheme}://bucket/prefix, and credentials as settings"
        )
    parts = prefix.split("/") if prefix else []
    if not all(_PLAIN.fullmatch(part) and part.strip(".") for part in parts):
        raise SettingsInvalid(
            f"not every reader of the lake can read a prefix {prefix!r}",
            "set LAKE_ROOT to a prefix of letters, digits and the signs . _ - = + ~ @ ,",
        )
    if find_spec("obstore") is None:
        raise SettingsInvalid(
            f"the lake's root is {scheme}://{bucket}, and the package obstore is not installed",
            "python -m pip install -c requirements.lock '.[object-store]'",
        )
    from pipeline.lake.bucket import Bucket
    from pipeline.lake.object_store import ObjectStore

    staging = Path(access.staging_dir).expanduser() if access.staging_dir else default_staging()
    return ObjectStore(Bucket(scheme, bucket, access), prefix, staging)
