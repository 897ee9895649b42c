"""Which of several names a model takes, by their probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

from frontend_dsl.components import LLM
from frontend_dsl.forms import form_of
from frontend_dsl.teams.members import description_of
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value
from frontend_dsl.writing import write


def pick(llm: LLM, context: Value | None, parts: Sequence[Any], names: Sequence[str]) -> Any:
    """The name that the model takes behind a context and the parts of a prompt."""
    tracer = tracing("a choice")
    with tracer.call("pick"):
        return write(tracer, "pick", llm, context, parts, form_of(choices=names)).result


def shown_names(members: Mapping[str, Any]) -> str:
    """A line for each name, with what it is for."""
    lines = ((name, description_of(member)) for name, member in members.items())
    return "\n".join(f"- {name}: {text}" if text else f"- {name}" for name, text in lines)
