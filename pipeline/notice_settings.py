"""Who is notified of runs: a person by an alert, an OpenLineage receiver by events."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr, field_validator


class NoticeSettings(BaseModel):
    alert_command: str = Field("", description="program that gets a JSON summary on stdin when a person must act")
    alert_after_hours: int = Field(
        30, ge=0, le=87_600, description="hours without a good run after which exit 75 is an alert too"
    )
    openlineage_url: str = Field(
        "", description="OpenLineage server, or file, that gets events of what a run reads and writes"
    )
    openlineage_api_key: SecretStr = Field(SecretStr(""), description="its API key")
    openlineage_namespace: str = Field("ksqldb-lake", min_length=1, description="namespace of the jobs in its events")

    @field_validator("openlineage_url")
    @classmethod
    def _has_no_password(cls, value: str) -> str:
        if value.startswith("http") and "@" in value:
            raise ValueError("it has a user or password in it; give OPENLINEAGE_API_KEY")
        return value
