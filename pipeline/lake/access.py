"""How an object store is reached, as plain values. Nothing here opens a connection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class StoreAccess:
    """The address and the credentials of an object store; what is empty comes from the store's own usual sources.

    `key_id`, `secret` and `token` are the access key, its secret and the session token of S3, the account, its key and
    a SAS of Azure, and of Google the JSON key of a service account (`secret`) and a bearer token. `staging_dir` is a
    local folder for files that are not committed yet, by default a private one in the system's temporary folder.
    `cold_class` is the storage class of dates that are no longer hot, by default the first that the store has.
    """

    endpoint: str = ""
    region: str = ""
    key_id: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_s: float = 60
    staging_dir: str = ""
    cold_class: str = ""
