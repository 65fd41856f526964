"""French for the sentences that stand in the code and nowhere else: what commands, options, settings and errors are."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "french.json"


@cache
def french() -> dict[str, str]:
    words: dict[str, str] = json.loads(_FILE.read_text(encoding="utf-8"))
    return words


_CODE = re.compile(r"(^```.*?^```|`[^`]*`)", re.MULTILINE | re.DOTALL)
_UNBROKEN = re.compile(r" (?=[:;?!»])|(?<=«) |(?<=\d) (?=%|\d{3}(?!\d))")


def typeset(text: str) -> str:
    """French text with spaces that do not break, but for its code: at double signs, quotes and %, and in numbers."""
    parts = _CODE.split(text)
    parts[::2] = [_UNBROKEN.sub("\u00a0", part) for part in parts[::2]]
    return "".join(parts)


class Words:
    """The words of one language; a sentence that has no French yet is kept in `missing`, and stays English."""

    def __init__(self, language: str) -> None:
        self._known = french() if language == "fr" else None
        self.missing: list[str] = []
        self.used: set[str] = set()

    def __call__(self, text: str) -> str:
        text = " ".join(text.split())
        if self._known is None or not text:
            return text
        self.used.add(text)
        if text not in self._known:
            self.missing.append(text)
        return typeset(self._known.get(text, text))
