"""What `/v1/responses` writes: the response, and the items of its output."""

from collections.abc import Sequence
from time import time
from typing import Any
from uuid import uuid4

from backends.base import TokenLogprob, ToolCall
from teola.serving.logprobs import chat_logprobs
from teola.serving.pieces import Answer
from teola.serving.response_fields import ResponseFields
from teola.serving.token_counts import TokenCounts

Item = dict[str, Any]


class ResponseObject:
    """One response, at any time of its life."""

    def __init__(self, model: str, fields: ResponseFields) -> None:
        choice = fields.tool_choice or "auto"
        self._head = {
            "id": f"resp_{uuid4().hex}",
            "object": "response",
            "created_at": int(time()),
            "model": model,
            "background": False,
            "error": None,
            "instructions": fields.instructions,
            "max_output_tokens": fields.max_output_tokens,
            "metadata": fields.metadata or {},
            "parallel_tool_calls": fields.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": fields.temperature,
            "text": fields.text.model_dump(by_alias=True, exclude_none=True, mode="json"),
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [_told_tool(tool.tool, tool.strict) for tool in fields.tools or ()],
            "top_logprobs": fields.top_logprobs or 0,
            "top_p": fields.top_p,
            "truncation": "disabled",
        }

    def running(self) -> dict[str, Any]:
        """Before its end."""
        end = {"status": "in_progress", "incomplete_details": None, "usage": None}
        return {**self._head, **end, "output": []}

    def ended(self, output: Sequence[Item], answer: Answer, counts: TokenCounts) -> dict[str, Any]:
        """All of it."""
        was_cut = answer.finish_reason == "length"
        return {
            **self._head,
            "status": "incomplete" if was_cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if was_cut else None,
            "output": [*output],
            "usage": _usage(counts),
        }


def output_of(answer: Answer) -> list[Item]:
    """The items of a whole answer."""
    calls = [call_item(call, "completed") for call in answer.calls]
    if calls and not answer.text:
        return calls
    part = text_part(answer.text, answer.logprobs or ())
    return [message_item(f"msg_{uuid4().hex}", [part], "completed"), *calls]


def message_item(id: str, content: list[Item], status: str) -> Item:
    """A text of the model."""
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, logprobs: Sequence[TokenLogprob] = ()) -> Item:
    """The content of a message."""
    told = logprobs_of(logprobs)
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}


def logprobs_of(tokens: Sequence[TokenLogprob]) -> Any:
    """As a chat has them."""
    return chat_logprobs(tokens)["content"]


def call_item(call: ToolCall, status: str) -> Item:
    """A call of a function; its own id is not the one that an answer names."""
    return {
        "id": f"fc_{uuid4().hex}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _told_tool(tool: dict[str, Any], strict: bool | None) -> Item:
    return {"type": "function", **tool, "strict": strict is not False}


def _usage(counts: TokenCounts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.prompt + counts.completion,
    }
