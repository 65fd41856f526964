"""What an experiment finds: how often it was tried, what was wrong, and whether that is what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field

_EXAMPLES = 20


@dataclass
class Figure:
    """One row of the published table. `wrong` counts each kind of broken promise; all must stay 0."""

    name: str
    experiment: str
    promises: tuple[str, ...] = ()
    tried: int = 0
    unit: str = "tries"
    wrong: dict[str, int] = field(init=False)
    details: str = ""
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wrong = dict.fromkeys(self.promises, 0)

    def count(self, what: str, detail: str = "", times: int = 1) -> None:
        """Notes something wrong; the first few details are kept."""
        self.wrong[what] = self.wrong.get(what, 0) + times
        if times and len(self.examples) < _EXAMPLES:
            self.examples.append(f"{what}: {detail}")

    def merge(self, part: Figure) -> None:
        """Adds what a part of the experiment has found."""
        self.tried += part.tried
        for what, times in part.wrong.items():
            self.wrong[what] = self.wrong.get(what, 0) + times
        self.examples = [*self.examples, *part.examples][:_EXAMPLES]

    @property
    def holds(self) -> bool:
        return self.tried > 0 and not any(self.wrong.values())
