"""What an experiment finds: how often it was tried, what was wrong, and whether that is what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        if times and len(self.examples) < 5:
            self.examples.append(f"{what}: {detail}")

    @property
    def holds(self) -> bool:
        return self.tried > 0 and not any(self.wrong.values())
