"""A chat template as markup between turns, read off the model's own Jinja template.

    (None, "user")        <|im_start|>user\\n          with the default system turn, if there is one
    ("user", "assistant") <|im_end|>\\n<|im_start|>assistant\\n       the generation prompt
    ("assistant", "user") <|im_end|>\\n<|im_start|>user\\n

So a prompt becomes token ids part by part, the same ids however it is cut into calls.
Conversations of sentinel words are rendered once; the text between two sentinels is the markup
that leads from one turn to the next.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from jinja2 import Template, TemplateError

from backends.base import Role
from backends.errors import ConfigError, RequestRejected
from backends.llm.text.bounded_templates import BoundedEnvironment, render_bounded

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


class ChatTemplate:
    """Markup between turns. Without a template every markup is empty. Raises ConfigError for a
    template that cannot be read; a step it refuses is known only when it is asked for."""

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
        self.source = source
        self._steps: dict[Step, str] | None = None
        if source is not None:
            self._template = _compile(source)
            self._tokens = {"bos_token": bos, "eos_token": eos}
            self._steps = self._derive()

    @property
    def is_empty(self) -> bool:
        return self._steps is None

    @property
    def has_system(self) -> bool:
        """Whether a conversation may begin with a system turn."""
        return self._steps is not None and {(None, "system"), ("system", "user")} <= {*self._steps}

    def markup(self, before: Role | None, role: Role) -> str:
        """What is written to leave turn `before` (None: the start) and open turn `role`."""
        if self._steps is None:
            return ""
        step = self._steps.get((before, role))
        if step is None:
            raise no_such_step(before, role)
        return step

    @property
    def end_of_turn(self) -> str:
        """The markup that closes an assistant turn, as far as it can be told; may be empty."""
        if self._steps is None:
            return ""
        text = rendered(self._render, ("user", "assistant"))
        return "" if text is None else text.partition(WORDS[1])[2]

    @property
    def markup_texts(self) -> tuple[str, ...]:
        """All that it writes between turns."""
        return (*(self._steps or {}).values(), self.end_of_turn)

    def render(self, messages: Sequence[Any], tools: Sequence[Any] | None, *, opens: bool) -> str:
        """The text of a conversation; `opens` writes the generation prompt too. Raises what the
        template raises, and TemplateError when it does not end."""
        return render_bounded(
            self._template,
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=opens,
            **self._tokens,
        )

    def _derive(self) -> dict[Step, str]:
        steps = derive(self._render, PROBES)
        if (None, "user") not in steps or ("user", "assistant") not in steps:
            raise ConfigError("the chat template does not write a user turn in one piece")
        return steps

    def _render(self, turns: Turns) -> str:
        messages = [
            {"role": role, "content": word}
            for role, word in zip(turns, WORDS, strict=False)
            if role
        ]
        return self.render(messages, None, opens=turns[-1] == "")


def no_such_step(before: Role | None, role: Role) -> RequestRejected:
    """For a turn that the template does not take there."""
    after = f"after a {before} turn" if before else "at the start"
    remedy = "; give `tools` to the prefill that opens the conversation" if role == "tool" else ""
    return RequestRejected(f"this model's chat template takes no {role} turn {after}{remedy}")


def _compile(source: str) -> Template:
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.filters["tojson"] = _to_json
    if "strftime_now" in source and "strftime_now is defined" not in source:
        environment.globals["strftime_now"] = datetime.now().astimezone().strftime
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ConfigError(f"the model's chat template cannot be read: {error}") from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes what HTML would read; templates are written for this one."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
