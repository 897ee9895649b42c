"""Questions behind their passages: those that ship with teola, and the prompt made of one."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.base import Chunk, Part, Turn

DATA = Path(__file__).parent / "questions.jsonl.gz"  # see DATA.md


@dataclass(frozen=True, slots=True)
class Question:
    """With the passages that are the chunks of its prompt."""

    text: str
    passages: Sequence[str]

    @property
    def prompt(self) -> tuple[Part, ...]:
        """Instructions, passages, question: the order that lets chunks be reused."""
        chunks = [Chunk(f"{passage}\n\n") for passage in self.passages]
        head = (Turn("user"), "Answer the question from the passages.\n\n")
        return (*head, *chunks, f"Question: {self.text}", Turn("assistant"))


def read_questions(path: Path = DATA, most: int | None = None) -> list[Question]:
    """Of a file of JSON lines with `question` and `passages`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Question(row["question"], row["passages"]) for row in rows[:most]]
