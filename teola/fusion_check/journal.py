"""Losses that were measured, kept line by line: a check that was stopped goes on from there."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from teola.fusion_check.loss import Loss


class Journal:
    """A file whose first line says of what it is; of something else, it begins anew."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path = path
        self._found = _read(path, first := json.dumps(about, sort_keys=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(first + "\n", encoding="utf-8")
        for (question, plan), loss in list(self._found.items()):
            self.keep(question, plan, loss)

    def get(self, question: int, plan: str) -> Loss | None:
        return self._found.get((question, plan))

    def keep(self, question: int, plan: str, loss: Loss) -> None:
        self._found[question, plan] = loss
        line = json.dumps({"question": question, "plan": plan, **asdict(loss)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _read(path: Path, about: str) -> dict[tuple[int, str], Loss]:
    """What a file about the same holds."""
    found: dict[tuple[int, str], Loss] = {}
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError):
        return found
    for line in lines if first == about else ():
        try:
            row = json.loads(line)
            key = int(row.pop("question")), str(row.pop("plan"))
            found[key] = Loss(**row)
        except (ValueError, TypeError, KeyError):  # the last line of a process that was killed
            continue
    return found
