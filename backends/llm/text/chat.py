"""A chat template as markup between turns, read off the model's own Jinja template.

    (None, "user")        <|im_start|>user\\n          with the default system turn, if there is one
    ("user", "assistant") <|im_end|>\\n<|im_start|>assistant\\n       the generation prompt
    ("assistant", "user") <|im_end|>\\n<|im_start|>user\\n

So a prompt becomes token ids part by part, the same ids however it is cut into calls.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.base import Role
from backends.errors import ConfigError, RequestRejected
from backends.llm.text.template_steps import PROBES, WORDS, Step, Turns, derive, rendered


class ChatTemplate:
    """Markup between turns. Without a template every markup is empty. Raises ConfigError for a
    template that cannot be read; a step it refuses is known only when it is asked for."""

    def __init__(self, source: str | None, bos: str = "", eos: str = "") -> None:
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
        template raises."""
        return self._template.render(
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
    environment = ImmutableSandboxedEnvironment(
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
