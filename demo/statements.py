"""The statements of `pipeline.sql`, one by one, and what each creates, writes and reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_CREATED = re.compile(r"CREATE (STREAM|TABLE) (\w+)")
_TOPIC = re.compile(r"KAFKA_TOPIC = '(\w+)'")
_READ = re.compile(r"\b(?:FROM|JOIN) (\w+)")
_KEY_FORMAT = re.compile(r"KEY_FORMAT = '(\w+)'")
_TIMESTAMP = re.compile(r"TIMESTAMP = '(\w+)'")


@dataclass(frozen=True)
class Statement:
    """`reads` are the sources that the query behind a derived object reads; empty for those over a topic."""

    text: str
    kind: str
    name: str
    topic: str
    reads: tuple[str, ...]
    key_format: str
    timestamp: str


def load_statements() -> tuple[Statement, ...]:
    """The statements in the order in which they can be run."""
    text = _COMMENT.sub("", Path(__file__).with_name("pipeline.sql").read_text(encoding="utf-8"))
    # No string in the file holds a semicolon.
    return tuple(_statement(part.strip() + ";") for part in text.split(";") if part.strip())


def _statement(text: str) -> Statement:
    kind, name = _CREATED.match(text).groups()  # type: ignore[union-attr] # every statement creates
    topic = _TOPIC.search(text)
    key_format, timestamp = _KEY_FORMAT.search(text), _TIMESTAMP.search(text)
    return Statement(
        text=text,
        kind=kind,
        name=name.upper(),
        topic=topic[1] if topic else name.upper(),
        reads=tuple(source.upper() for source in _READ.findall(text)),
        key_format=key_format[1] if key_format else "KAFKA",
        timestamp=timestamp[1].upper() if timestamp else "",
    )
