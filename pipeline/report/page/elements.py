"""Elements of a page: every text that comes in is escaped, and what HTML lets one leave out is left out.

Only what `tag` and `joined` return is markup; any other text is text, whatever is in it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from pipeline.printable import printable

_VOID = {"meta", "link"}
_SHAPES = {"path", "rect", "line"}
_NO_END = {"tr", "td", "th"}
_PLAIN = re.compile(r"[\w.:#-]+", re.ASCII)
_NO_BREAK = re.compile("([\u00a0\u202f])")  # within numbers, and before units
_MOST_CHARACTERS = 300
"""Of one text: a page stays small, and a person reads on elsewhere."""


class Html(str):
    """Markup that is ready: it is not escaped again."""

    __slots__ = ()


Content = str | int | None | Iterable["Content"]


def tag(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Html:
    """An element. An attribute that is None or False is left out; `class_` is `class`, `aria_label` is `aria-label`."""
    words = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not None and value is not False:
            words.append(f"{attribute}={_quoted(str(value))}")
    if name in _VOID or name in _SHAPES:
        return Html(f"<{' '.join(words)}{' /' if name in _SHAPES else ''}>")
    end = "" if name in _NO_END else f"</{name}>"
    return Html(f"<{' '.join(words)}>{joined(*content)}{end}")


def joined(*content: Content) -> Html:
    """One after the other; None is nothing."""
    parts = list[str]()
    for one in content:
        if isinstance(one, Html):
            parts.append(one)
        elif isinstance(one, str | int):
            parts.append(html.escape(_shown(str(one)[:_MOST_CHARACTERS]), quote=False))
        elif one is not None:
            parts.append(joined(*one))
    return Html("".join(parts))


def _shown(text: str) -> str:
    """Without control characters and marks that turn the direction of text: shown as escapes, or as blanks."""
    if text.isprintable():
        return text
    return "".join(part if _NO_BREAK.match(part) else printable(part, len(part)) for part in _NO_BREAK.split(text))


def _quoted(value: str) -> str:
    value = _shown(value)
    return value if _PLAIN.fullmatch(value) else f'"{html.escape(value)}"'
