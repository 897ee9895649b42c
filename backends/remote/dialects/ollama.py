"""Ollama's own API: `/api/chat`, and `/api/generate` for a prompt without turns.

Ollama cuts prompts that are longer than its context without a word, unless it is told not to, and
its models bring sampling settings of their own: everything is sent with every request.
"""

import json
from collections.abc import Mapping
from typing import Any

from backends.remote.answer_form import Form
from backends.remote.dialects.text_dialect import Written
from backends.remote.drafts import Draft, Drafts, chat_logprob
from backends.remote.messages import Message
from backends.remote.text_call import TextCall
from backends.remote.text_fields import refuse
from backends.remote.unwrapping import choice_as_json

_NAME = "Ollama"
_OPTIONS = {  # attribute -> option
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repeat_penalty",
}
_ALWAYS = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0, "temperature": 0.0}
_TAKEN = frozenset((*_OPTIONS, "n", "logprobs", "schema", "choices", "regex"))


class Ollama:
    """`context_len` sizes the context that the server makes; None leaves it to the server."""

    def __init__(self, model: str, context_len: int | None) -> None:
        self.max_samples = 1
        self._model = model
        self._context = {} if context_len is None else {"num_ctx": context_len}

    def write(self, call: TextCall, is_stream: bool) -> Written:
        for name in call.changed.keys() - _TAKEN:
            refuse(name, _NAME)
        for name in ("adapter", "cache_salt"):
            if getattr(call, name) is not None:
                refuse(name, _NAME)
        form = _form(call)
        body = {
            "model": self._model,
            **_prompt(call),
            "stream": is_stream,
            "options": {**_ALWAYS, **_options(call, form), **self._context},
            "truncate": False,  # a prompt that is too long is refused ...
            "shift": False,  # ... and an answer ends where the context does
            **_logprobs(call),
            **_tools(call),
            **form.fields,
        }
        path = "/api/chat" if call.prompt.turns else "/api/generate"
        return Written(path, body, form)

    def read(self, event: Any, drafts: Drafts) -> str:
        draft = drafts.of(0)
        message = event.get("message") or {}
        text: str = message.get("content") or event.get("response") or ""
        draft.text.append(text)
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            at = len(draft.calls)
            arguments = function.get("arguments") or {}
            draft.add_call(at, call.get("id"), function.get("name"), arguments)
        draft.logprobs += [chat_logprob(token) for token in event.get("logprobs") or ()]
        if event.get("done"):
            _end(event, draft, drafts)
        return text

    def learn(self, refusal: str, call: TextCall, body: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return False


def _prompt(call: TextCall) -> dict[str, Any]:
    if not call.prompt.turns:
        return {"prompt": call.prompt.text, "raw": True}
    return {"messages": [_message(message) for message in call.prompt.messages]}


def _message(message: Message) -> dict[str, Any]:
    """Calls have no ids here, and arguments are JSON values; an answer names its tool."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        functions = ({"name": c.name, "arguments": _value(c.arguments)} for c in message.calls)
        found["tool_calls"] = [{"function": function} for function in functions]
    return found if message.answers is None else {**found, "tool_name": message.answers.name}


def _value(arguments: str) -> Any:
    """Some models write arguments that are no JSON; they stand in the history as they are."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {"arguments": arguments}


def _options(call: TextCall, form: Form) -> dict[str, Any]:
    values = {"max_tokens": call.sampling.max_tokens, **call.changed}
    found = {_OPTIONS[name]: value for name, value in values.items() if name in _OPTIONS}
    if "stop" in found:
        found["stop"] = list(found["stop"])
    return {**found, "num_predict": call.sampling.max_tokens + form.more_tokens}


def _form(call: TextCall) -> Form:
    sampling = call.sampling
    if sampling.regex is not None:
        refuse("regex", _NAME, "use a schema, or choices")
    if sampling.choices is not None:
        schema = {"type": "string", "enum": list(sampling.choices)}
        return Form({"format": schema}, choice_as_json, more_tokens=4)
    return Form() if sampling.schema is None else Form({"format": call.schema})


def _logprobs(call: TextCall) -> dict[str, Any]:
    wanted = call.sampling.logprobs
    if wanted is None:
        return {}
    return {"logprobs": True, **({"top_logprobs": wanted} if wanted else {})}


def _tools(call: TextCall) -> dict[str, Any]:
    if not call.tools or call.tool_choice == "none":
        return {}
    if not call.prompt.turns:
        refuse("tools", f"{_NAME} for a prompt without turns", "put the prompt into a user turn")
    if call.tool_choice != "auto":
        refuse(f"tool_choice {call.tool_choice!r}", _NAME, "it has auto and none")
    if not call.is_parallel:
        refuse("parallel_tool_calls=False", _NAME)
    return {"tools": [{"type": "function", "function": tool.function} for tool in call.tools]}


def _end(event: Mapping[str, Any], draft: Draft, drafts: Drafts) -> None:
    draft.finish = event.get("done_reason") or "stop"
    drafts.count(event.get("prompt_eval_count"), None, event.get("eval_count"))
