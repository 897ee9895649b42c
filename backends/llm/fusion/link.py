"""What a fused prompt reads instead of computing it."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.llm.fusion.look import Look
from backends.llm.kv.page_table import PageTable

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A part of a prompt: the last tokens of a context but for its padding, with their KV."""

    ids: tuple[int, ...]
    table: PageTable  # of the context; the engine's thread alone looks inside
    start: int  # where the first of `ids` stands in that context
    text: str = ""
    again: Bools | None = None  # [len(ids)]: which are computed again; None: none
    is_exact: bool = False  # its KV is what the prompt's own would be


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One of the passes that a plan makes over a prompt."""

    look: Look | None = None  # what it finds out; the last pass looks for nothing
    base: PageTable | None = None  # of the pass before, whose pages this one takes over


class Placed(NamedTuple):
    """Where an encoded part's first token stands in a prompt."""

    part: Encoded
    at: int

    @property
    def end(self) -> int:
        return self.at + len(self.part.ids)

    @property
    def is_exact(self) -> bool:
        """Whether it stands as it stood in its source, behind the same."""
        return self.part.is_exact and self.at == self.part.start

    def is_there(self) -> bool:
        """Whether its source still has KV. On the engine's thread."""
        source = self.part.table
        return not source.is_released and source.num_computed >= self.part.start + len(
            self.part.ids
        )


def num_moved(placed: Items[Placed], start: int, computed: Items[int], num_tokens: int) -> int:
    """How many tokens from `start` on have KV of other places. The prompt's last has none."""
    is_moved = np.zeros(num_tokens - 1, np.bool_)
    for part in placed:
        is_moved[part.at : part.end] = not part.is_exact
    is_moved[:start] = False
    is_moved[list(computed)] = False
    return int(is_moved.sum())


def places_to_compute(placed: Items[Placed], start: int, num_tokens: int) -> list[int]:
    """Those from `start` on that a prompt of `num_tokens` computes, but for its last token: the one
    before it at least, so that there is a prefill."""
    wanted = np.ones(num_tokens - 1, np.bool_)
    for part, at in placed:
        own = wanted[at : at + len(part.ids)]
        own[:] = False if part.again is None else part.again[: len(own)]
    wanted[-1] = True
    found: list[int] = (np.flatnonzero(wanted[start:]) + start).tolist()
    return found
