"""What is known of a server at one time. Pure values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["apps", "engine", "unknown"]


@dataclass(frozen=True, slots=True)
class Work:
    """A primitive that runs now."""

    node: str
    op: str
    engine: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunView:
    """One run of an app."""

    id: str
    app: str
    age_s: float
    done: int  # primitives
    total: int  # known so far
    failed: int
    prompt_tokens: int
    cached_tokens: int
    tokens: int  # generated, those of texts that are being written included
    running: tuple[Work, ...] = ()
    num_running: int = 0
    waiting: dict[str, int] = field(default_factory=dict)  # primitives, by their engines


@dataclass(frozen=True, slots=True)
class Load:
    """Of a server; the rate is None until it was asked twice."""

    running: int = 0
    waiting: int = 0
    tokens_per_s: float | None = None  # generated, by pieces of text: guessed ones come together
    hit_rate: float | None = None  # of prompt tokens since its start; None before the first
    kv_use: float | None = None  # share of KV pages, those kept for later prompts included


@dataclass(frozen=True, slots=True)
class ServerView:
    """`problem` says why there is nothing else."""

    url: str
    kind: Kind = "unknown"
    problem: str = ""
    load: Load | None = None
    runs: tuple[RunView, ...] = ()


ORDERS = ("age", "tokens", "app")


def in_order(runs: Sequence[RunView], order: str) -> list[RunView]:
    """The oldest first, or those with most tokens, or by app and age."""
    if order == "tokens":
        return sorted(runs, key=lambda run: (-run.tokens, -run.age_s))
    if order == "app":
        return sorted(runs, key=lambda run: (run.app, -run.age_s))
    return sorted(runs, key=lambda run: -run.age_s)
