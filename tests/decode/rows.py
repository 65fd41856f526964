"""Rows of a batch as tests compare them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def tuples(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
