"""Which tokens of a reused chunk are computed again. A plan is a class in `PLANS` with one method.

Written by name in a request: fusion="reuse", fusion="lego(16)".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backends.errors import RequestRejected

MOST_ROWS = 1 << 20


class Plan(Protocol):
    """Static: chosen before anything is computed, and the same on all layers."""

    def num_first(self, num_tokens: int) -> int:
        """How many of a chunk's first tokens are computed again; its others are read."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """None: the most that can be saved, and the most that can be lost."""

    def num_first(self, num_tokens: int) -> int:  # noqa: ARG002
        return 0


@dataclass(frozen=True, slots=True)
class Lego:
    """The first k of each chunk: encoded at the start of something, they draw attention that the
    start of a prompt draws, and must learn that they are not there (EPIC's LegoLink-k, arXiv
    2410.15332)."""

    k: int

    def num_first(self, num_tokens: int) -> int:
        return min(self.k, num_tokens)


PLANS: dict[str, Callable[..., Plan]] = {"reuse": Reuse, "lego": Lego}


def plan_from(text: object) -> Plan:
    """The plan that a request names. Raises RequestRejected."""
    match = re.fullmatch(r"(\w+)(?:\((\d{1,7})\))?", text) if isinstance(text, str) else None
    make = PLANS.get(match[1]) if match else None
    if match is None or make is None or (match[2] is None) != (make is Reuse):
        raise RequestRejected(f"fusion must be 'reuse' or 'lego(k)', with a number k, not {text!r}")
    return make() if match[2] is None else make(int(match[2]))
