"""`POST /v1/chat/completions`, of OpenAI and of the servers that speak like it."""

from collections.abc import Mapping
from typing import Any

from backends.errors import RequestRejected
from backends.remote.answer_form import chat_form
from backends.remote.dialects.text_dialect import Written
from backends.remote.drafts import Draft, Drafts, chat_logprob
from backends.remote.messages import Message
from backends.remote.place_fields import served_of
from backends.remote.servers import TextServer
from backends.remote.text_call import TextCall
from backends.remote.text_fields import one_call, shared_fields

_LIMITS = ("max_completion_tokens", "max_tokens")


class OpenAIChat:
    """Remembers how the server wants the limit, and whether its model takes a temperature."""

    def __init__(self, model: str, server: TextServer, limit_field: str) -> None:
        self.max_samples = 128
        self._model = model
        self._server = server
        self._limit_field = limit_field
        self._takes_temperature = True

    def write(self, call: TextCall, is_stream: bool) -> Written:
        form = chat_form(call, self._server.forms)
        body = {
            "messages": [message.body for message in self._messages(call)],
            **shared_fields(call, self._model, self._server),
            self._limit_field: call.sampling.max_tokens + form.more_tokens,
            **self._temperature(call),
            **_logprobs(call),
            **self._tools(call),
            **self._going_on(call),
            **form.fields,
        }
        if is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Written("/v1/chat/completions", body, form)

    def read(self, event: Any, drafts: Drafts) -> str:
        new = ""
        for choice in event.get("choices") or ():
            index = choice.get("index", 0)
            text = _add(choice, drafts.of(index))
            new += text if index == 0 else ""
        count_usage(event.get("usage"), drafts)
        return new

    def learn(self, refusal: str, call: TextCall, body: Mapping[str, Any]) -> bool:
        used, other = _LIMITS if _LIMITS[0] in body else _LIMITS[::-1]
        if used in refusal and other in refusal:
            self._limit_field = other
            return True
        if "temperature" in refusal and "temperature" in body and "temperature" not in call.given:
            self._takes_temperature = False
            return True
        return False

    def _messages(self, call: TextCall) -> tuple[Message, ...]:
        if not call.prompt.turns:
            return (Message("user", call.prompt.text),)
        return call.prompt.messages

    def _temperature(self, call: TextCall) -> dict[str, Any]:
        is_sent = self._takes_temperature or "temperature" in call.given
        return {"temperature": call.sampling.temperature} if is_sent else {}

    def _tools(self, call: TextCall) -> dict[str, Any]:
        return chat_tools(call) if call.tools else {}

    def _going_on(self, call: TextCall) -> Mapping[str, Any]:
        if not call.prompt.is_begun:
            return {}
        if self._server.goes_on is None:
            raise RequestRejected(
                "the prompt begins the answer itself, and OpenAI's API always begins a new one: "
                "use an engine that continues an answer (local:, sglang://, vllm://, ollama://)"
            )
        return self._server.goes_on


def chat_tools(call: TextCall) -> dict[str, Any]:
    """OpenAI's `tools` and `tool_choice`."""
    choice: Any = call.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "function": {"name": choice}}
    tools = [{"type": "function", "function": tool.function} for tool in call.tools]
    return {"tools": tools, "tool_choice": choice, **one_call(call)}


def count_usage(usage: Any, drafts: Drafts) -> None:
    """OpenAI's `usage`; tokens of reasoning count among the written ones."""
    if usage:
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        drafts.count(usage.get("prompt_tokens"), cached, usage.get("completion_tokens"))
        drafts.count_fused(details.get("fused_tokens"), usage.get("fusion"))
        drafts.served = served_of(usage)


def add_end(choice: Mapping[str, Any], draft: Draft) -> None:
    """Finish reason, and what vLLM (stop_reason) and SGLang (matched_stop) say of the stop."""
    draft.finish = choice.get("finish_reason") or draft.finish
    for name in ("stop_reason", "matched_stop"):
        if choice.get(name) is not None:
            draft.stop = choice[name]


def _logprobs(call: TextCall) -> dict[str, Any]:
    wanted = call.sampling.logprobs
    if wanted is None:
        return {}
    return {"logprobs": True, **({"top_logprobs": wanted} if wanted else {})}


def _add(choice: Mapping[str, Any], draft: Draft) -> str:
    said = choice.get("delta") or choice.get("message") or {}
    text: str = said.get("content") or ""
    draft.text.append(text)
    if said.get("refusal"):
        draft.refusal.append(said["refusal"])
    for at, call in enumerate(said.get("tool_calls") or ()):
        function = call.get("function") or {}
        index = call.get("index")
        if index is None:  # some servers send each call whole, without one
            index = draft.index_of_call(call.get("id")) if choice.get("delta") else at
        draft.add_call(index, call.get("id"), function.get("name"), function.get("arguments"))
    logprobs = choice.get("logprobs") or {}
    draft.logprobs += [chat_logprob(token) for token in logprobs.get("content") or ()]
    add_end(choice, draft)
    return text
