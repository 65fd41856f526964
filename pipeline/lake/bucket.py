"""An object store's bucket: whole objects, written with or without a condition, and the store's errors as ours.

What is written without a condition, read or deleted may be repeated, so the client repeats it. A write with a
condition is sent once: repeated by the client after a lost answer, it would be refused by its own first attempt. So
whoever writes with a condition asks the store what is there after each answer that is not clear. 429 is clear: Google
refuses so more than one write a second of an object, and the write is sent again when the second is over.

Facts: object_store 0.14 (obstore 0.12) reports 409 as an object that exists, and answers that it cannot tell as
`GenericError` with the HTTP status in its text.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import obstore.exceptions as refusals
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from pipeline.errors import SettingsInvalid, StoreRefused, StoreUnreachable
from pipeline.lake.access import StoreAccess

MULTIPART_BYTES = 64 * 2**20
"""Files above this size are uploaded in parts."""
_PART_BYTES = 16 * 2**20
_RETRIES: dict[str, Any] = {
    "max_retries": 8,
    "backoff": {"init_backoff": dt.timedelta(milliseconds=300), "max_backoff": dt.timedelta(seconds=5), "base": 2},
    "retry_timeout": dt.timedelta(minutes=3),
}
"""The client draws each pause between the first one and `base` times the last: all together are never below 2.4 s."""
_TOO_SOON_S = (0.3, 0.7, 1, 1, 2, 2, 4, 4, 8, 8)
"""Pauses after a conditional write that the store refuses because it comes too soon after another (429)."""
_MAY_PASS = (408, 409, 412, 425, 429, "RequestTimeout")
"""Answers below 500 after which the same request may succeed: HTTP's numbers, and S3's word for one with 400."""


Tag = Mapping[str, str]
"""What names the present state of an object: its `e_tag`, and where the store has one its `version`."""

COLD_CLASSES = {
    "s3": ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"),
    "gs": ("NEARLINE", "COLDLINE", "ARCHIVE"),
    "az": ("Cool", "Cold"),
}
"""Classes for what is seldom read, all of which answer at once: from others an object has to be restored first."""


@dataclass(frozen=True)
class Found:
    """An object's size in bytes, when the store last wrote it, and its tag, which changes when it is written over."""

    size: int
    written_at: dt.datetime
    tag: Tag

    @property
    def e_tag(self) -> str:
        """The tag as `Bucket.names` has it; empty where the store has none."""
        return _e_tag(self.tag)


class Bucket:
    """The bucket (S3, Google) or container (Azure) `name`, reached by `scheme`: s3, gs or az.

    Keys are relative to the bucket. Missing objects raise FileNotFoundError. All operations raise StoreRefused and
    StoreUnreachable.
    """

    def __init__(self, scheme: str, name: str, access: StoreAccess) -> None:
        self.root, self.access, self._scheme = f"{scheme}://{name}", access, scheme
        self._options = _options(scheme, access)
        self.cold_class = access.cold_class or COLD_CLASSES[scheme][0]
        if self.cold_class not in COLD_CLASSES[scheme]:
            raise SettingsInvalid(
                f"LAKE_STORE_COLD_CLASS: {self.cold_class} is none of {scheme}'s classes that are read at once",
                f"set one of {', '.join(COLD_CLASSES[scheme])}",
            )
        self._again = _client(scheme, name, self._options, _RETRIES)
        self._once = _client(scheme, name, self._options, {"max_retries": 0})

    def filesystem(self) -> Any:
        """The bucket as an fsspec file system, for reading."""
        from obstore.fsspec import FsspecStore

        kind: Any = FsspecStore  # its constructor is declared for each scheme apart
        return kind(self._scheme, retry_config=_RETRIES, skip_instance_cache=True, **self._options)

    def get(self, key: str) -> tuple[bytes, Found]:
        """An object and what is known of it."""
        with self._errors(key):
            got = obstore.get(self._again, key)
            return bytes(got.bytes()), _found(got.meta)

    def find(self, key: str) -> tuple[bytes, Found] | None:
        """As `get`; None where it does not exist."""
        with contextlib.suppress(FileNotFoundError):
            return self.get(key)
        return None

    def get_up_to(self, key: str, most_bytes: int) -> tuple[bytes | None, int]:
        """An object of at most so many bytes, or None, and its size."""
        with self._errors(key):
            got = obstore.get(self._again, key)
            size = got.meta["size"]
            return (bytes(got.bytes()) if size <= most_bytes else None), size

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`."""
        with self._errors(key):
            return bytes(obstore.get_range(self._again, key, start=start, end=end))

    def head(self, key: str) -> Found | None:
        """What is known of an object; None where it does not exist."""
        with contextlib.suppress(FileNotFoundError), self._errors(key):
            return _found(obstore.head(self._again, key))
        return None

    def put(self, key: str, data: bytes | Path, storage_class: str = "") -> None:
        """Writes an object whole, whether it exists or not; without a class in the bucket's own."""
        given: Any = {"Storage-Class": storage_class} if storage_class else None
        is_large = isinstance(data, Path) and data.stat().st_size > MULTIPART_BYTES
        with self._errors(key):
            obstore.put(self._again, key, data, attributes=given, use_multipart=is_large, chunk_size=_PART_BYTES)

    def create(self, key: str, data: bytes) -> Tag:
        """Writes an object that does not exist; returns its tag.

        FileExistsError says that the store refuses, StoreUnreachable that it is not known whether it was written, nor
        whether it still will be.
        """
        return self._put_once(key, data, "create")

    def update(self, key: str, data: bytes, tag: Tag) -> Tag:
        """Writes over the object that has this tag; as `create`."""
        return self._put_once(key, data, dict(tag))

    def _put_once(self, key: str, data: bytes, condition: Any) -> Tag:
        pauses_s = iter(_TOO_SOON_S)
        with self._errors(key):
            while True:
                try:
                    return _tag(obstore.put(self._once, key, data, mode=condition))
                except (refusals.AlreadyExistsError, refusals.PreconditionError, refusals.NotModifiedError):
                    raise FileExistsError(errno.EEXIST, "another writer was first", f"{self.root}/{key}") from None
                except refusals.GenericError as error:
                    if _status(str(error)) != 429 or (pause_s := next(pauses_s, None)) is None:
                        raise
                    time.sleep(pause_s)

    def copy(self, key: str, new: str) -> None:
        with self._errors(key):
            obstore.copy(self._again, key, new)

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; missing ones are no error."""
        with self._errors(keys[0] if keys else ""):
            try:
                obstore.delete(self._again, list(keys))
            except FileNotFoundError:  # stores that have no deletion of many stop at the first one
                for key in keys:
                    with contextlib.suppress(FileNotFoundError):
                        obstore.delete(self._again, key)

    def names(self, folder: str) -> dict[str, str]:
        """The names directly below a folder (empty, or with a slash at its end), sorted: of objects, each with its
        e_tag, and of folders.
        """
        with self._errors(folder):
            listed = obstore.list_with_delimiter(self._again, folder or None)
            tags = dict.fromkeys(listed["common_prefixes"], "")
            tags |= {one["path"]: _e_tag(one) for one in listed["objects"]}
            names = {key[len(folder) :]: tag for key, tag in sorted(tags.items())}
            names.pop("", None)  # some stores list the folder itself
            return names

    def all_below(self, folder: str) -> Iterator[str]:
        """The keys of all objects below a folder."""
        yield from (key for key, _ in self.written_below(folder))

    def written_below(self, folder: str) -> Iterator[tuple[str, dt.datetime]]:
        """The same, each with when the store last wrote it."""
        with self._errors(folder):
            for some in obstore.list(self._again, folder or None):
                yield from ((one["path"], one["last_modified"]) for one in some)

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        where = f"{self.root}/{key}"
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "it does not exist", where) from None
        except refusals.BaseError as error:
            raise _told(where, str(error)) from error


def _found(meta: Any) -> Found:
    return Found(meta["size"], meta["last_modified"], _tag(meta))


def _e_tag(meta: Any) -> str:
    """Without its quotation marks, which Azure's answers have and its lists have not."""
    return (meta.get("e_tag") or "").strip('"')


def _tag(meta: Any) -> Tag:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}


def _status(text: str) -> int:
    """HTTP's number in the client's error; 0 where it has none."""
    found = re.search(r"status code: (\d{3})", text)
    return int(found[1]) if found else 0


def _told(where: str, text: str) -> StoreRefused | StoreUnreachable:
    """The store's error as ours. Its text may hold a signature, in the query of a URL, which is left out."""
    reason = re.sub(r"\?\S*", "", text.partition("\n\nDebug source")[0])
    code, number = re.search(r"<Code>(\w+)</Code>", text), _status(text)
    if "redential" in reason and code is None:
        return StoreRefused(
            f"no credentials for {where} are found: {reason}",
            "set LAKE_STORE_KEY_ID and LAKE_STORE_SECRET_FILE, or the variables of the store's own tools",
        )
    if "ertificate" in text:
        return StoreRefused(
            f"the certificate of the store of {where} is not trusted: {reason}",
            "set LAKE_STORE_CA_FILE to the CA that signed it",
        )
    if 300 <= number < 500 and number not in _MAY_PASS and (code is None or code[1] not in _MAY_PASS):
        named = f"{number} {code[1]}" if code else str(number)
        return StoreRefused(
            f"the object store refuses {where}: {named}",
            "check bucket, region, credentials and their rights: python test_setup.py",
        )
    return StoreUnreachable(
        f"the object store does not answer for {where}: {reason}", "run the same command again when it does"
    )


def _options(scheme: str, access: StoreAccess) -> dict[str, Any]:
    """What clients are made with, in object_store's words. Raises SettingsInvalid."""
    http: dict[str, Any] = {"timeout": f"{access.timeout_s:g}s", "connect_timeout": "10s"}
    if access.endpoint.startswith("http://"):
        http["allow_http"] = True
    if access.ca_file:
        try:
            http["root_certificate"] = Path(access.ca_file).read_bytes()
        except OSError as error:
            raise SettingsInvalid(
                f"LAKE_STORE_CA_FILE: {access.ca_file}: {error.strerror}", "name a file that can be read"
            ) from None
    given = {
        "az": {"account_name": access.key_id, "account_key": access.secret, "sas_key": access.token}
        | {"endpoint": access.endpoint},
        "gs": {"service_account_key": access.secret, "bearer_token": access.token, "base_url": access.endpoint},
        "s3": {"access_key_id": access.key_id, "secret_access_key": access.secret, "session_token": access.token}
        | {"endpoint": access.endpoint, "region": access.region}
        | {"conditional_put": "etag", "checksum_algorithm": "sha256"},
    }[scheme]
    return {name: value for name, value in given.items() if value} | {"client_options": http}


def _client(scheme: str, name: str, options: dict[str, Any], retries: Any) -> ObjectStore:
    """Raises SettingsInvalid."""
    kind: Any = {"az": AzureStore, "gs": GCSStore, "s3": S3Store}[scheme]
    try:
        client: ObjectStore = kind(name, retry_config=retries, **options)
    except (refusals.BaseError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsInvalid(
            f"the settings of {scheme}://{name} cannot be used: {reason}", "correct the settings LAKE_STORE_..."
        ) from None
    return client
