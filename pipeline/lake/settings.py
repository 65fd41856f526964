"""The settings of a lake on an object store."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr, field_validator

from pipeline.lake.access import StoreAccess

_HOUR = 3600


class StoreSettings(BaseModel):
    """A part of `data_lake_config.Settings`."""

    lake_store_endpoint: str = Field("", description="URL of an S3, Azure or Google store that is not the cloud's own")
    lake_store_region: str = Field("", description="S3: the bucket's region")
    lake_store_key_id: str = Field("", description="S3: access key; Azure: storage account")
    lake_store_secret: SecretStr = Field(
        SecretStr(""), description="S3: secret key; Azure: account key; Google: service account as JSON"
    )
    lake_store_token: SecretStr = Field(
        SecretStr(""), description="S3: session token; Azure: shared access signature; Google: token"
    )
    lake_store_ca_file: str = Field("", description="PEM file with the CA that signed the store's certificate")
    lake_store_timeout_s: float = Field(60, gt=0, le=_HOUR, description="time for each request to the object store")
    lake_store_cold_class: str = Field(
        "", description="storage class past hot_days; empty: STANDARD_IA, NEARLINE or Cool"
    )
    lake_staging_dir: str = Field(
        "", description="local folder for files on their way to an object store; empty: TMPDIR"
    )

    @field_validator("lake_store_endpoint")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it is not an http:// or https:// URL")
        return value

    def store_access(self) -> StoreAccess:
        return StoreAccess(
            endpoint=self.lake_store_endpoint,
            region=self.lake_store_region,
            key_id=self.lake_store_key_id,
            secret=self.lake_store_secret.get_secret_value(),
            token=self.lake_store_token.get_secret_value(),
            ca_file=self.lake_store_ca_file,
            timeout_s=self.lake_store_timeout_s,
            staging_dir=self.lake_staging_dir,
            cold_class=self.lake_store_cold_class,
        )
