"""A page as a reader has it: its tables by name with what each cell says, its tiles, and all of its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "path", "rect", "wbr"}
ENDS_ITSELF = {"tr": {"tr", "td", "th"}, "td": {"td", "th"}, "th": {"td", "th"}}
"""What the start of an element ends, as HTML has it."""
ENDED_BY_PARENT = {"tr", "td", "th"}


@dataclass
class Cell:
    """What a cell says; `values` and `times` are what programs read of it."""

    text: str = ""
    values: list[float] = field(default_factory=list)
    times: list[str] = field(default_factory=list)


@dataclass
class Page(HTMLParser):
    """What was read. Raises AssertionError where an element is not closed as HTML demands."""

    tables: dict[str, list[list[Cell]]] = field(default_factory=dict)
    tiles: dict[str, Cell] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._caption = ""
        self._rows: list[list[Cell]] = []
        self._cell: Cell | None = None
        self._tile: tuple[str, Cell] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        while self._open and self._open[-1] in ENDED_BY_PARENT and self._open[-1] in ENDS_ITSELF.get(tag, ()):
            self._open.pop()
        if tag not in VOID:
            self._open.append(tag)
        if label := found.get("aria-label"):
            self.labels.append(label)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = Cell()
            self._rows[-1].append(self._cell)
        elif "data-tile" in found:
            self._tile = (found["data-tile"] or "", Cell())
        for cell in self._cells():
            if tag == "data":
                cell.values.append(float(value) if "." in (value := found["value"] or "") else int(value))
            elif tag == "time":
                cell.times.append(found["datetime"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open[-1] != tag and self._open[-1] in ENDED_BY_PARENT:
            self._open.pop()
        assert self._open.pop() == tag
        if tag in ("tbody", "table"):
            self._cell = None
        if tag == "table":
            assert self._caption not in self.tables
            self.tables[self._caption] = self._rows
        if tag == "div" and self._tile:
            self.tiles[self._tile[0]], self._tile = self._tile[1], None

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "caption":
            self._caption += data
        if "style" not in self._open:
            self.text += data
        for cell in self._cells():
            cell.text += data

    def _cells(self) -> list[Cell]:
        return [cell for cell in (self._cell, self._tile[1] if self._tile else None) if cell is not None]

    def rows(self, caption: str) -> dict[str, list[Cell]]:
        """The rows of a table by what their first cell says first."""
        return {row[0].text: row for row in self.tables[caption][1:]}


def read_page(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page._open == []
    return page
