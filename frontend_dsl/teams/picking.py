"""Which of several names a model takes, by their probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend_dsl.choosing import choose
from frontend_dsl.components import LLM
from frontend_dsl.teams.members import description_of
from frontend_dsl.tools import tool
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much the likeliest name must be ahead of the next, else `default` is taken."""

    default: str
    least: float  # of the mean log-probability of a name's tokens


def pick(
    llm: LLM,
    context: Value | None,
    parts: Sequence[Any],
    names: Sequence[str],
    margin: Margin | None = None,
) -> Any:
    """The name that is likeliest behind a context and the parts of a prompt."""
    tracer = tracing("a choice")
    with tracer.call("pick"):
        written, scores = choose(tracer, "pick", llm, context, parts, list(names), "mean")
    if margin is None:
        return written.text
    given: tuple[Any, Any] = written.text, scores
    return _decided(*given, margin.least, margin.default)


def shown_names(members: Mapping[str, Any]) -> str:
    """A line for each name, with what it is for."""
    lines = ((name, description_of(member)) for name, member in members.items())
    return "\n".join(f"- {name}: {text}" if text else f"- {name}" for name, text in lines)


@tool(pure=True, name="decided")
def _decided(picked: str, scores: list[float], least: float, default: str) -> str:
    first, second = sorted(scores, reverse=True)[:2]
    return picked if first - second >= least else default
