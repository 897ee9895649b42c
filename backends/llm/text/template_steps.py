"""The markup between turns, read off what a template renders.

Conversations of sentinel words are rendered once; the text between two sentinels is the markup
that leads from one turn to the next.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from jinja2 import TemplateError

from backends.base import Role

WORDS = ("QZTURNAQZ", "QZTURNBQZ", "QZTURNCQZ", "QZTURNDQZ", "QZTURNEQZ")  # in no template

Step: TypeAlias = "tuple[Role | None, Role]"
# "" is the generation prompt; a call is an assistant turn that makes one, or two, with the word in
# the arguments of the last
Turns: TypeAlias = 'tuple[Role | Literal["", "call", "calls"], ...]'
Render: TypeAlias = Callable[[Turns], str]

# The shortest conversation that holds each step, which leads to its last turn.
PROBES: Mapping[Step, Sequence[Turns]] = {
    (None, "system"): (("system", "user"), ("system",)),
    (None, "user"): (("user",),),
    (None, "assistant"): (("assistant",), ("",)),
    ("system", "user"): (("system", "user"),),
    ("system", "assistant"): (("system", ""), ("system", "assistant")),
    ("system", "system"): (("system", "system"),),
    ("user", "assistant"): (("user", ""), ("user", "assistant")),
    ("user", "user"): (("user", "user"),),
    ("user", "system"): (("user", "system"),),
    ("assistant", "user"): (("user", "assistant", "user"),),
    ("assistant", "assistant"): (("user", "assistant", ""), ("user", "assistant", "assistant")),
    ("assistant", "system"): (("user", "assistant", "system"),),
}
TOOL_PROBES: Mapping[Step, Sequence[Turns]] = {
    ("assistant", "tool"): (("user", "call", "tool", ""), ("user", "call", "tool")),
    ("tool", "tool"): (("user", "calls", "tool", "tool"), ("user", "call", "tool", "tool")),
    ("tool", "assistant"): (("user", "call", "tool", ""), ("user", "call", "tool", "assistant")),
    ("tool", "user"): (("user", "call", "tool", "user"), ("user", "call", "tool", "user", "")),
}


def derive(render: Render, probes: Mapping[Step, Sequence[Turns]]) -> dict[Step, str]:
    """The markup of each step that the template takes."""
    found = {step: _first(render, step, turns) for step, turns in probes.items()}
    return {step: markup for step, markup in found.items() if markup is not None}


def rendered(render: Render, turns: Turns) -> str | None:
    """None where the template refuses these turns, or sums over a missing message."""
    try:
        return render(turns)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return None


def _first(render: Render, step: Step, probes: Iterable[Turns]) -> str | None:
    for turns in probes:
        found = _markup(render, step, turns)
        if found is not None:
            return found
    return None


def _markup(render: Render, step: Step, turns: Turns) -> str | None:
    text = rendered(render, turns)
    if text is None:
        return None
    at = _place(step, turns)
    start = 0 if at == 0 else _end_of(text, WORDS[at - 1])
    end = len(text) if turns[at] == "" else text.find(WORDS[at])
    if start < 0 or end < start or text.count(WORDS[0]) > 1:
        return None
    return text[start:end]


def _place(step: Step, turns: Turns) -> int:
    """The turn that the step leads to."""
    if step[0] is None and step[1] in turns:
        return turns.index(step[1])
    is_behind = turns[-1] == "" and step[1] != "assistant"
    return len(turns) - 2 if is_behind else len(turns) - 1


def _end_of(text: str, word: str) -> int:
    at = text.find(word)
    return -1 if at < 0 else at + len(word)
