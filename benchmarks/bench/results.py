"""What was measured, question by question, in one file that later runs add to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .lab import Row

__all__ = ["KEPT", "Answer", "Results"]

KEPT = Path(__file__).parent.parent / "results"
FILE = "results.json"


@dataclass(frozen=True)
class Answer:
    """What came of one question.

    Attributes:
        at: When it was asked.
        seconds: How long that took.
        load: Of the machine, before and after.
        scale: How long and how much was measured.
        rows: The figures.
    """

    at: str
    seconds: float
    load: tuple[float, float]
    scale: dict[str, Any]
    rows: list[Row]


@dataclass
class Results:
    """Answers, with the machine they were measured on."""

    machine: dict[str, Any]
    answers: dict[str, Answer] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read what was written there; nothing was, where there is no file."""
        path = folder / FILE
        if not path.exists():
            return cls({})
        kept = json.loads(path.read_text())
        return cls(
            kept["machine"],
            {name: Answer(**answer) for name, answer in kept["answers"].items()},
        )

    @property
    def rows(self) -> list[Row]:
        """The figures of all questions."""
        return [row for answer in self.answers.values() for row in answer.rows]

    def answered(self, name: str, scale: dict[str, Any]) -> bool:
        """Whether a question was answered at this scale."""
        answer = self.answers.get(name)
        return answer is not None and json.dumps(answer.scale) == json.dumps(scale)

    def write(self, folder: Path, judged: list[dict[str, Any]]) -> None:
        """Write them as JSON, with what must be shown and whether it was."""
        folder.mkdir(parents=True, exist_ok=True)
        answers = {name: asdict(answer) for name, answer in self.answers.items()}
        result = {"machine": self.machine, "targets": judged, "answers": answers}
        (folder / FILE).write_text(json.dumps(result, indent=1) + "\n")
