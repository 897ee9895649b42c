"""`POST /v1/responses`: OpenAI's newer API. Nothing is kept there: `store` is false."""

from collections.abc import Iterable, Mapping
from typing import Any

from backends.errors import EngineError, RequestRejected
from backends.remote.answer_form import responses_form
from backends.remote.dialects.text_dialect import Written
from backends.remote.drafts import Draft, Drafts, chat_logprob
from backends.remote.messages import Message
from backends.remote.text_call import TextCall
from backends.remote.text_fields import one_call, refuse

_TAKEN = frozenset(("max_tokens", "temperature", "top_p", "logprobs", "schema", "choices", "n"))
_NAME = "OpenAI's responses API"
_ENDS = ("response.completed", "response.incomplete", "response.failed")


class OpenAIResponses:
    """The first system turn becomes `instructions`; the others are input items."""

    def __init__(self, model: str) -> None:
        self.max_samples = 1
        self._model = model
        self._takes_temperature = True

    def write(self, call: TextCall, is_stream: bool) -> Written:
        for name in call.changed.keys() - _TAKEN - {"regex"}:
            refuse(name, _NAME, "use api='chat'")
        if call.adapter is not None or call.cache_salt is not None:
            refuse("adapter" if call.adapter is not None else "cache_salt", _NAME)
        form = responses_form(call)
        body = {
            "model": self._model,
            **_input(call),
            "store": False,
            "max_output_tokens": call.sampling.max_tokens + form.more_tokens,
            **self._sampling(call),
            **_logprobs(call),
            **_tools(call),
            **form.fields,
        }
        if is_stream:
            body["stream"] = True
        return Written("/v1/responses", body, form)

    def read(self, event: Any, drafts: Drafts) -> str:
        kind = event.get("type")
        if kind == "response.output_text.delta":
            text: str = event.get("delta") or ""
            return text
        if kind in _ENDS or event.get("object") == "response":
            return _add(event.get("response", event), drafts, is_event=kind in _ENDS)
        return ""

    def learn(self, refusal: str, call: TextCall, body: Mapping[str, Any]) -> bool:
        if "temperature" in refusal and "temperature" in body and "temperature" not in call.given:
            self._takes_temperature = False
            return True
        return False

    def _sampling(self, call: TextCall) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._takes_temperature or "temperature" in call.given:
            found["temperature"] = call.sampling.temperature
        if call.sampling.top_p < 1:
            found["top_p"] = call.sampling.top_p
        return found


def _input(call: TextCall) -> dict[str, Any]:
    if call.prompt.is_begun:
        raise RequestRejected(
            f"the prompt begins the answer itself, and {_NAME} always begins a new one: use an "
            "engine that continues an answer (local:, sglang://, vllm://, ollama://)"
        )
    messages = call.prompt.messages
    if not messages:
        return {"input": call.prompt.text}
    if messages[0].role == "system" and len(messages) > 1:
        return {"instructions": messages[0].content, "input": _items(messages[1:])}
    return {"input": _items(messages)}


def _items(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Calls and their answers are items of their own."""
    found: list[dict[str, Any]] = []
    for message in messages:
        if message.answers is not None:
            about = {"call_id": message.answers.id, "output": message.content}
            found.append({"type": "function_call_output", **about})
        elif message.content or not message.calls:
            found.append({"role": message.role, "content": message.content})
        found += [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            for call in message.calls
        ]
    return found


def _logprobs(call: TextCall) -> dict[str, Any]:
    wanted = call.sampling.logprobs
    if wanted is None:
        return {}
    top = {"top_logprobs": wanted} if wanted else {}
    return {"include": ["message.output_text.logprobs"], **top}


def _tools(call: TextCall) -> dict[str, Any]:
    if not call.tools:
        return {}
    choice: Any = call.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "name": choice}
    tools = [{"type": "function", **tool.function, "strict": False} for tool in call.tools]
    return {"tools": tools, "tool_choice": choice, **one_call(call)}


def _add(response: Mapping[str, Any], drafts: Drafts, is_event: bool) -> str:
    """The whole response; the last event of a stream has it too, and its text was told before."""
    if response.get("status") == "failed":
        error = response.get("error") or {}
        raise EngineError(f"the server failed: {error.get('message') or error or 'no reason told'}")
    draft = drafts.of(0)
    for at, item in enumerate(response.get("output") or ()):
        _add_item(at, item, draft)
    draft.finish = _finish(response)
    _count(response.get("usage"), drafts)
    return "" if is_event else draft.whole_text


def _add_item(at: int, item: Mapping[str, Any], draft: Draft) -> None:
    if item.get("type") == "function_call":
        draft.add_call(at, item.get("call_id"), item.get("name"), item.get("arguments"))
    for content in item.get("content") or () if item.get("type") == "message" else ():
        if content.get("type") == "refusal":
            draft.refusal.append(content.get("refusal") or "no reason told")
        elif content.get("type") == "output_text":
            draft.text.append(content.get("text") or "")
            draft.logprobs += [chat_logprob(token) for token in content.get("logprobs") or ()]


def _finish(response: Mapping[str, Any]) -> str:
    if response.get("status") != "incomplete":
        return "stop" if response.get("status") == "completed" else str(response.get("status"))
    reason = (response.get("incomplete_details") or {}).get("reason")
    return "length" if reason == "max_output_tokens" else str(reason)


def _count(usage: Any, drafts: Drafts) -> None:
    if usage:
        cached = (usage.get("input_tokens_details") or {}).get("cached_tokens")
        drafts.count(usage.get("input_tokens"), cached, usage.get("output_tokens"))
