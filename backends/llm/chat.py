"""A chat template as markup between turns, read off the model's own Jinja template.

Conversations of sentinel words are rendered once; the text between two sentinels is the markup
that leads from one turn to the next:

    (None, "user")        <|im_start|>user\\n          with the default system turn, if there is one
    ("user", "assistant") <|im_end|>\\n<|im_start|>assistant\\n       the generation prompt
    ("assistant", "user") <|im_end|>\\n<|im_start|>user\\n

So a prompt becomes token ids part by part, the same ids however it is cut into calls.
"""

from typing import Literal

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.base import Role
from backends.errors import ConfigError, RequestRejected

_WORDS = ("QZTURNAQZ", "QZTURNBQZ", "QZTURNCQZ")  # in no template, and nothing to trim or escape

# The shortest conversation that holds each step; a last "" is the generation prompt.
_PROBES: dict[tuple[Role | None, Role], tuple[tuple[Role | Literal[""], ...], ...]] = {
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


class ChatTemplate:
    """Markup between turns. Without a template every markup is empty. Raises ConfigError for a
    template that cannot be read; a step it refuses is known only when it is asked for."""

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
        self._steps: dict[tuple[Role | None, Role], str] | None = None
        if source is not None:
            self._template = _compile(source)
            self._tokens = {"bos_token": bos, "eos_token": eos}
            self._steps = self._derive()

    def markup(self, before: Role | None, role: Role) -> str:
        """What is written to leave turn `before` (None: the start) and open turn `role`."""
        if self._steps is None:
            return ""
        step = self._steps.get((before, role))
        if step is None:
            after = f"after a {before} turn" if before else "at the start"
            raise RequestRejected(f"this model's chat template takes no {role} turn {after}")
        return step

    @property
    def end_of_turn(self) -> str:
        """The markup that closes an assistant turn, as far as it can be told; may be empty."""
        if self._steps is None:
            return ""
        try:
            return self._render(("user", "assistant")).partition(_WORDS[1])[2]
        except (TemplateError, TypeError):
            return ""

    def _derive(self) -> dict[tuple[Role | None, Role], str]:
        steps: dict[tuple[Role | None, Role], str] = {}
        for step, probes in _PROBES.items():
            for turns in probes:
                found = self._last_markup(step, turns)
                if found is not None:
                    steps[step] = found
                    break
        if (None, "user") not in steps or ("user", "assistant") not in steps:
            raise ConfigError("the chat template does not write a user turn in one piece")
        return steps

    def _last_markup(
        self, step: tuple[Role | None, Role], turns: tuple[Role | Literal[""], ...]
    ) -> str | None:
        try:
            text = self._render(turns)
        except (TemplateError, TypeError):  # refused, or sums over a missing message
            return None
        at = turns.index(step[1]) if step[0] is None and step[1] in turns else len(turns) - 1
        start = 0 if at == 0 else _end_of(text, _WORDS[at - 1])
        end = len(text) if turns[at] == "" else text.find(_WORDS[at])
        if start < 0 or end < start or text.count(_WORDS[0]) > 1:
            return None
        return text[start:end]

    def _render(self, turns: tuple[Role | Literal[""], ...]) -> str:
        messages = [
            {"role": role, "content": word}
            for role, word in zip(turns, _WORDS, strict=False)
            if role
        ]
        return self._template.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=turns[-1] == "",
            **self._tokens,
        )


def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ConfigError(f"the model's chat template cannot be read: {error}") from error


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _end_of(text: str, word: str) -> int:
    at = text.find(word)
    return -1 if at < 0 else at + len(word)
