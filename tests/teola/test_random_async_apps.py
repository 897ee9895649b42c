"""Random `async def` apps mean what a reading of their Python says, plain and optimized.

A value that fails is a failure only for who reads or awaits it. An effect happens unless it reads a
failed value, or something before it failed and the app was not told. What keeps effects from
happening, and nobody awaits, is raised at the end.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import teola as tl
from teola.errors import NodeFailed

KINDS = ("pure", "fail", "send", "refuse", "await", "text")
Steps = list[tuple[str, int]]
sent: list[str] = []
kept: list[list[str]] = []


@tl.tool(pure=True)
def pure(value: str, number: int) -> str:
    return f"{value}.{number}"


@tl.tool(pure=True)
def fail(value: str, number: int) -> str:
    raise ValueError(f"{number} {value}")


@tl.tool
def send(value: str, number: int) -> str:
    sent.append(f"{value} {number}")
    return f"sent {number}"


@tl.tool
def refuse(value: str, number: int) -> str:
    sent.append(f"{value} {number} refused")
    raise ValueError(f"{number} {value}")


TOOLS: Any = {"pure": pure, "fail": fail, "send": send, "refuse": refuse}


@tl.app
async def program(steps: list[list[Any]]) -> list[str]:
    values, told = ["v"], []
    kept[:] = [values]  # a pure value that nobody holds is no part of the program
    for number, (kind, index) in enumerate(steps):
        value = values[index % len(values)]
        if kind == "await":
            try:
                told.append(await tl.value(value))
            except ValueError as error:
                told.append(f"failed {str(error).split()[0]}")
        else:
            values.append(f"<{value}>" if kind == "text" else TOOLS[kind](value, number))
    return told


@dataclass(eq=False)
class Failure:
    """One failure, by the step that failed first."""

    number: int


class Reading:
    """What the program should do, one step after another."""

    def __init__(self, steps: Steps) -> None:
        self.values: list[str | Failure] = ["v"]
        self.told: list[str] = []
        self.sent: list[str] = []
        self.seen: list[Failure] = []
        self.lost: list[Failure] = []  # of effects
        for number, (kind, index) in enumerate(steps):
            self.step(number, kind, self.values[index % len(self.values)])
        self.fails = any(failure not in self.seen for failure in self.lost)

    def step(self, number: int, kind: str, value: str | Failure) -> None:
        if kind == "await":
            self.told.append(f"failed {value.number}" if isinstance(value, Failure) else value)
            self.seen += [value] if isinstance(value, Failure) else []
        elif kind in ("send", "refuse"):
            self.values.append(self.effect(number, kind, value))
        elif isinstance(value, Failure):
            self.values.append(value)
        elif kind == "fail":
            self.values.append(Failure(number))
        else:
            self.values.append(f"<{value}>" if kind == "text" else f"{value}.{number}")

    def effect(self, number: int, kind: str, value: str | Failure) -> str | Failure:
        before = [v for v in self.values if isinstance(v, Failure) and v not in self.seen]
        causes = [value, *before] if isinstance(value, Failure) else before
        if causes:
            failure = Failure(min(cause.number for cause in causes))
        elif kind == "send":
            self.sent.append(f"{value} {number}")
            return f"sent {number}"
        else:
            self.sent.append(f"{value} {number} refused")
            failure = Failure(number)
        self.lost.append(failure)
        return failure


def run(steps: Steps, optimize: bool) -> tuple[list[str] | None, list[str]]:
    sent.clear()
    app = program.using(optimize=optimize, memo=False)
    try:
        return app([list(step) for step in steps]), list(sent)
    except NodeFailed:
        return None, list(sent)


def without_numbers(told: list[str] | None) -> list[str] | None:
    """An effect may be lost by one of several failures."""
    return told and ["failed" if text.startswith("failed") else text for text in told]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)), max_size=12))
def test_random_programs_do_what_they_say(steps: Steps) -> None:
    reading = Reading(steps)
    expected = None if reading.fails else reading.told
    plain, optimized = run(steps, False), run(steps, True)
    assert plain == optimized
    assert plain[1] == reading.sent
    assert without_numbers(plain[0]) == without_numbers(expected)
