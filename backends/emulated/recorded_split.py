"""How a recorded run counted the tokens of its passages: an emulated embedder cuts the same ones,
or their texts would not be those of the recording."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.registry import EngineSpec
from backends.tools.passage_tokens import Counting, counting_of

_BEGINS = b'{"op": "split"'


def split_record(inputs: Sequence[Any]) -> dict[str, Any] | None:
    """The record of a call that was given an embedder to cut passages for."""
    for given in inputs:
        if isinstance(given, EngineSpec) and given.kind == "embedder":
            return {"op": "split", **counting_of(given)._asdict()}
    return None


def recorded_counting(path: str | Path) -> Counting | None:
    """That of the first split; None where none was recorded. A file that cannot be read is told of
    when the engine starts."""
    try:
        with Path(path).expanduser().open("rb") as file:
            for line in file:
                if line.startswith(_BEGINS):
                    record = json.loads(line)
                    return Counting(record["tokenizer"], record["most_tokens"])
    except (OSError, ValueError, KeyError):
        return None
    return None
