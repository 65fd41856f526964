"""Text in one line, without what a terminal or a log viewer would obey."""

from __future__ import annotations

_MOST_CHARACTERS = 4000


def printable(text: str, most: int = _MOST_CHARACTERS) -> str:
    """`text` in one line of limited length, without control characters that a terminal or log viewer would obey.

    A message may contain names that a server, a file or a user gave: line ends become blanks, other control
    characters (among them those that change the direction of text) are shown as escapes.
    """
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)
