"""What followed an export in the same run: lines for people, and fields beside those of the export in `--json`."""

from __future__ import annotations

from typing import Any

from pipeline.errors import PipelineError
from pipeline.night import AfterExport, Synced
from pipeline.report.json_forms import verification_json
from pipeline.report.text import verdict_text
from pipeline.report.warehouse import loaded_json, loaded_lines
from pipeline.text import plural
from pipeline.verify.verification import Verification


def after_json(after: AfterExport, away: PipelineError | None) -> dict[str, Any]:
    """`away` is why no feed was exported at all."""
    return {
        "error": _error_json(away) if away else None,
        "sync": _synced_json(after.synced) if after.synced else None,
        "verify": verification_json(after.verified) if after.verified else None,
    }


def after_lines(after: AfterExport) -> list[str]:
    return [
        *(_synced_lines(after.synced) if after.synced else ()),
        *(_verified_lines(after.verified) if after.verified else ()),
    ]


def _synced_json(synced: Synced) -> dict[str, Any]:
    errors = [_error_json(error) for error in synced.errors]
    return loaded_json(synced.loaded, dry_run=False) | {"left_out": list(synced.left_out), "errors": errors}


def _synced_lines(synced: Synced) -> list[str]:
    lines = loaded_lines(synced.loaded, dry_run=False) if synced.loaded.facts else []
    lines += [f"{feed} has no version in the lake yet: not loaded" for feed in synced.left_out]
    return lines or ["nothing was loaded into the warehouse"]


def _verified_lines(verified: Verification) -> list[str]:
    lines = [verdict_text(verdict) for verdict in verified.verdicts if verdict.findings or verdict.errors]
    if lines:
        return lines + [f"  python metadata_utils.py repair {feed} says what can be done" for feed in verified.damaged]
    return [f"what is new is verified: {plural(verified.file_count, 'file')}, {plural(verified.row_count, 'row')}"]


def _error_json(error: PipelineError) -> dict[str, str]:
    return {"message": error.message, "hint": error.hint}
