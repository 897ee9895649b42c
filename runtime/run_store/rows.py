"""What is kept of a run and of its primitives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

LATEST_S = 2.5e11  # a date that calendars still know

RunState = Literal["running", "waiting", "finished", "failed", "interrupted", "crashed"]


class NodeState(IntEnum):
    """How far a primitive came."""

    BEGUN = 1  # an effect, of which nothing more is known
    DONE = 2
    FAILED = 3  # with an exception that the program may have taken
    UNKEPT = 4  # an effect that ended with a value that cannot be kept
    WAITING = 5  # for a person's answer


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. What it was called with is bytes of `values`, or empty where it cannot be kept."""

    id: str
    app: str
    target: str  # file.py:name; empty for an app that no module names
    arguments: bytes
    engines: str  # JSON: engine name -> URL, of those that the caller replaced
    code: str  # digest of the app's file
    began_s: float
    state: RunState = "running"
    ended_s: float | None = None
    error: str = ""
    owner: str = ""  # the process that works on it
    tenant: str = ""  # whom it counts for; empty: as its app says
    objective: str = ""  # "latency" or "throughput"; empty: as its app says
    due_s: float | None = None  # when its result is wanted, in seconds of the wall clock
    policy: str = ""  # the name of that by which it was ordered; empty: none that has one


def due_at(began_s: float, deadline_s: float | None) -> float | None:
    """When the result of a run is wanted that began then with this deadline."""
    return None if deadline_s is None else min(began_s + deadline_s, LATEST_S)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One primitive of a run. `key` is its content's digest where it is pure, else its place's."""

    key: bytes
    place: str
    op: str
    name: str  # of the function, for people
    content: bytes  # digest of what it was given; empty where that cannot be told
    state: NodeState
    value: bytes = b""
    when_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine of a run. Engines that share a name are numbered."""

    name: str  # in its app, behind those of the apps around
    identity: str
    number: int


Row: TypeAlias = NodeRow | EngineRow | bytes  # that is written; a primitive's key alone: taken away


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as it is listed."""

    run: RunRow
    state: RunState  # "crashed" where its process is gone
    num_done: int
    num_bytes: int
    question: str  # that it waits for a person to answer, or what is in doubt

    @property
    def id(self) -> str:
        return self.run.id
