"""The markup of conversations with one set of tools, read off the same chat template.

A template that knows tools renders them by itself, calls and their answers too; the format of its
calls is told from what it writes. All others get the Hermes text in their system turn. The tools
stand once, where the conversation opens, also in templates that would move them to each user turn:
a context cannot change what it holds.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from backends.base import Role, ToolCall
from backends.errors import RequestRejected
from backends.llm.text.chat import (
    PROBES,
    TOOL_PROBES,
    WORDS,
    ChatTemplate,
    Step,
    Turns,
    derive,
    no_such_step,
    rendered,
)
from backends.llm.text.plain_markup import PlainMarkup
from backends.llm.text.tokenizer import Tokenizer
from backends.tool_calls.format import CallFormat
from backends.tool_calls.formats import format_of
from backends.tool_calls.hermes import HermesFormat, hermes_messages
from backends.tool_calls.mistral import MistralFormat, mistral_id
from backends.tool_calls.tools import Tool, Toolset

_IDS = ("QZCALLAQZ", "QZCALLBQZ")  # nine characters, as Mistral's templates want them
_NAMES = ("QZNAMEAQZ", "QZNAMEBQZ")
_NO_CALL = ToolCall("", "", "{}")
_PROBES = {**PROBES, **TOOL_PROBES}
_NO_WORD = re.compile(r"[^\w.:-]")
_QUOTED = '"QZ'


class ToolTemplate:
    """Markup between turns, tool turns among them."""

    def __init__(self, template: ChatTemplate, tools: Sequence[Tool]) -> None:
        self._template = template
        self._tools = tools
        self._functions = [{"type": "function", "function": tool.function} for tool in tools]
        known = self._known_format()
        self._is_native = known is not None
        self.format = known or HermesFormat()
        self._steps = self._derive()
        self._escapes = self._escapes_answers()

    def markup(
        self, before: Role | None, role: Role, leaving: ToolCall | None, entering: ToolCall | None
    ) -> str:
        """What leaves turn `before` and opens turn `role`: a tool turn answers the call that is
        named `leaving` or `entering`. Raises RequestRejected."""
        step = self._steps.get((before, role))
        if step is None:
            raise no_such_step(before, role)
        first, second = (leaving, entering) if before == "tool" else (entering, None)
        for number, call in enumerate((first, second)):
            said = call or _NO_CALL
            step = step.replace(_IDS[number], self._id(said))
            step = step.replace(_NAMES[number], self._name(said))
        return step

    def answer(self, text: str) -> str:
        """A text as it stands in a tool turn: some templates write it as a JSON string."""
        return json.dumps(text, ensure_ascii=False)[1:-1] if self._escapes else text

    def _id(self, call: ToolCall) -> str:
        if isinstance(self.format, MistralFormat):
            return mistral_id(call.id)
        return _NO_WORD.sub("_", call.id)

    def _name(self, call: ToolCall) -> str:
        """A model may write any name and id: they are no markup."""
        is_known = any(tool.name == call.name for tool in self._tools)
        return call.name if is_known else _NO_WORD.sub("_", call.name)

    def _known_format(self) -> CallFormat | None:
        """The format that the template writes; None if it knows no tools, or in a way that is not
        known here."""
        text = rendered(self._render_native, ("user", "call", "tool", ""))
        names = (json.dumps(tool.name, ensure_ascii=False) for tool in self._tools)
        if text is None or WORDS[2] not in text or not all(name in text for name in names):
            return None
        asked, called, answered = (text.find(word) for word in WORDS[:3])
        return format_of(text[asked:answered]) if 0 <= asked < called < answered else None

    def _derive(self) -> dict[Step, str]:
        if self._template.is_empty:
            return {}
        steps = derive(self._render, _PROBES)
        again = [step for step in steps if step[0] not in (None, "system")]
        if any(self._tells_tools(steps[step]) for step in again):
            steps |= derive(self._render_toolless, {step: _PROBES[step] for step in again})
        behind_call, closing = steps.pop(("assistant", "tool"), ""), self._closing
        if closing and closing in behind_call:
            steps["assistant", "tool"] = behind_call[behind_call.find(closing) :]
        return steps

    @property
    def _closing(self) -> str:
        return self._template.end_of_turn.strip()

    def _tells_tools(self, markup: str) -> bool:
        return all(json.dumps(tool.name, ensure_ascii=False) in markup for tool in self._tools)

    def _escapes_answers(self) -> bool:
        messages = _messages(("user", "call", "tool"), answer=_QUOTED)
        try:
            text = self._template.render(messages, self._functions, opens=True)
        except Exception:  # the template's own
            return False
        return self._is_native and json.dumps(_QUOTED)[1:-1] in text

    def _render(self, turns: Turns) -> str:
        if self._is_native:
            return self._render_native(turns)
        messages = hermes_messages(_messages(turns), self._tools, self._template.has_system)
        return self._template.render(messages, None, opens=turns[-1] == "")

    def _render_toolless(self, turns: Turns) -> str:
        """Calls and answers of a native template, without the tools themselves."""
        return self._template.render(_messages(turns), None, opens=turns[-1] == "")

    def _render_native(self, turns: Turns) -> str:
        return self._template.render(_messages(turns), self._functions, opens=turns[-1] == "")


def _messages(turns: Turns, answer: str | None = None) -> list[dict[str, Any]]:
    num_answers = 0
    found: list[dict[str, Any]] = []
    for role, word in zip(turns, WORDS, strict=False):
        if role in ("call", "calls"):
            calls = [_call(number, word) for number in range(1 if role == "call" else 2)]
            found.append({"role": "assistant", "content": "", "tool_calls": calls})
        elif role == "tool":
            about = {"tool_call_id": _IDS[num_answers], "name": _NAMES[num_answers]}
            found.append({"role": "tool", "content": answer or word, **about})
            num_answers += 1
        elif role:
            found.append({"role": role, "content": word})
    return found


def _call(number: int, word: str) -> dict[str, Any]:
    function = {"name": _NAMES[number], "arguments": {"q": word}}
    return {"id": _IDS[number], "type": "function", "function": function}


MAX_TOOLSETS = 64  # a toolset takes some 20 renderings, and a few pages of text


class ToolTemplates:
    """Of one tokenizer and template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._known: OrderedDict[str, ToolTemplate] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tools: Toolset) -> ToolTemplate:
        """Raises RequestRejected for tools that this model's prompts cannot hold."""
        with self._lock:
            found = self._known.get(tools.key)
            if found is not None:
                self._known.move_to_end(tools.key)
                return found
        self._check(tools)
        made = ToolTemplate(self._template, tools.tools)
        with self._lock:
            self._known[tools.key] = made
            while len(self._known) > MAX_TOOLSETS:
                self._known.popitem(last=False)
        return made

    def _check(self, tools: Toolset) -> None:
        if self._template.is_empty:
            raise RequestRejected(
                "this model has no chat template, which tools need: use an instruct model"
            )
        plain = PlainMarkup(self._tokenizer, self._template.markup_texts).markers
        for token in (*map(self._tokenizer.token, self._tokenizer.markup_ids), *plain):
            if token and token in tools.key:
                raise RequestRejected(
                    f"tools: a name, description or schema holds {token!r}, which is markup of "
                    "this model: write it in another way"
                )
