"""What prompts, answers and arguments say, as attributes: only where somebody asked for it."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json

from backends.base import Context, Request, Result, Tokens, Turn
from backends.documents import Doc
from backends.tool_calls.turn import read_turn
from teola.telemetry.shape import Attributes

Messages = tuple[dict[str, Any], ...]

_LLM = ("prefill", "decode", "generate", "select")


class Contents:
    """Of one run. It remembers the messages behind each context."""

    def __init__(self) -> None:
        self._contexts: dict[int, tuple[Context, Messages]] = {}  # held, so that ids stay theirs

    def of(self, request: Request, result: Result) -> Attributes:
        """What went into a request and what came out."""
        if request.op in _LLM:
            return self._of_llm(request, result)
        found = _values(_inputs(request), _outputs(request, result))
        if request.op == "call":
            found["gen_ai.tool.call.arguments"] = found["input.value"]
            found["gen_ai.tool.call.result"] = found["output.value"]
        elif request.op == "search":
            found["gen_ai.retrieval.query.text"] = str(request.inputs[1])
            ids = [{"id": doc.id, "score": doc.score} for doc in result.outputs[0]]
            found["gen_ai.retrieval.documents"] = _json(ids)
            found |= _documents("retrieval.documents", result.outputs[0])
        elif request.op == "rerank":
            found["reranker.query"] = str(request.inputs[0])
            found |= _documents("reranker.output_documents", result.outputs[0])
        return found

    def of_run(self, inputs: Any, result: Any) -> Attributes:
        """The arguments of an app and what it returned."""
        return _values(inputs, result)

    def _of_llm(self, request: Request, result: Result) -> Attributes:
        first = request.inputs[0] if request.inputs else None
        before = self._contexts[id(first)][1] if id(first) in self._contexts else ()
        parts = request.inputs[request.op != "generate" :]
        asked = before if request.op == "select" else joined(before, parts)
        written = [] if request.op == "prefill" else _texts(result.outputs[0])
        after = asked
        if len(written) == 1:
            after = joined(asked, [*([] if _is_answering(asked) else [_ANSWER]), written[0]])
        self._remember(result.outputs, after)
        answers = [_message("assistant", text) for text in written]
        asked = asked[: len(asked) - _is_open(asked)]
        inputs, outputs = [*map(_with_calls, asked)], [*map(_with_calls, answers)]
        said = json.dumps(inputs, ensure_ascii=False)
        found: Attributes = {
            "gen_ai.input.messages": said,
            "input.value": said,
            "input.mime_type": "application/json",
        }
        if written:
            found["gen_ai.output.messages"] = json.dumps(outputs, ensure_ascii=False)
            found["output.value"] = "\n".join(written)
        return found | _flat("llm.input_messages", inputs) | _flat("llm.output_messages", outputs)

    def _remember(self, outputs: Sequence[Any], messages: Messages) -> None:
        for value in outputs:
            if isinstance(value, Context):
                self._contexts[id(value)] = (value, messages)


_ANSWER = Turn("assistant")


def joined(messages: Messages, parts: Iterable[Any]) -> Messages:
    """The messages with what a prompt adds; what stands before any turn is the user's."""
    found = [*messages]
    for part in parts:
        if isinstance(part, Turn):
            found.append(_message(part.role, ""))
            continue
        text = f"<{len(part.ids)} tokens>" if isinstance(part, Tokens) else str(part)
        last = found.pop() if found else _message("user", "")
        found.append(_message(last["role"], last["parts"][0]["content"] + text))
    return tuple(found)


def _is_answering(messages: Messages) -> bool:
    return bool(messages) and messages[-1]["role"] == "assistant"


def _is_open(messages: Messages) -> bool:
    """Whether the answer's turn stands at the end, with nothing in it."""
    return _is_answering(messages) and not messages[-1]["parts"][0]["content"]


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _with_calls(message: dict[str, Any]) -> dict[str, Any]:
    """The message with calls of tools as parts of their own, where its text is a turn of those."""
    turn = read_turn(message["parts"][0]["content"])
    if turn is None:
        return message
    parts: list[dict[str, Any]] = []
    if turn.content:
        parts.append({"type": "text", "content": turn.content})
    for call in turn.calls:
        about = {"id": call.id, "name": call.name, "arguments": call.arguments}
        parts.append({"type": "tool_call", **about})
    return {**message, "parts": parts}


def _texts(output: Any) -> list[str]:
    return [str(text) for text in output] if isinstance(output, list) else [str(output)]


def _flat(prefix: str, messages: Sequence[dict[str, Any]]) -> Attributes:
    """As OpenInference writes lists."""
    found: Attributes = {}
    for number, message in enumerate(messages):
        own = f"{prefix}.{number}.message"
        found[f"{own}.role"] = message["role"]
        texts = [part["content"] for part in message["parts"] if part["type"] == "text"]
        found[f"{own}.content"] = "".join(texts)
        calls = [part for part in message["parts"] if part["type"] == "tool_call"]
        for place, call in enumerate(calls):
            function = f"{own}.tool_calls.{place}.tool_call.function"
            found[f"{function}.name"] = call["name"]
            found[f"{function}.arguments"] = call["arguments"]
    return found


def _inputs(request: Request) -> Any:
    if request.op == "embed":
        return request.inputs[0]
    if request.op == "call":
        names = request.attrs.get("kwargs", ())
        values = request.inputs
        plain = values[: len(values) - len(names)]
        named = dict(zip(names, values[len(plain) :], strict=True))
        return {**{str(n): value for n, value in enumerate(plain)}, **named}
    return [value for value in request.inputs if isinstance(value, str | list)]


def _outputs(request: Request, result: Result) -> Any:
    if request.op == "embed":
        return f"{request.num_items} vectors"
    return result.outputs[0] if request.op in ("search", "rerank", "call") else None


def _values(inputs: Any, output: Any) -> Attributes:
    return {
        "input.value": _json(inputs),
        "input.mime_type": "application/json",
        "output.value": output if isinstance(output, str) else _json(output),
        "output.mime_type": "text/plain" if isinstance(output, str) else "application/json",
    }


def _json(value: Any) -> str:
    return to_json(value, serialize_unknown=True, inf_nan_mode="null").decode(errors="replace")


def _documents(prefix: str, docs: Iterable[Doc]) -> Attributes:
    found: Attributes = {}
    for number, doc in enumerate(docs):
        found[f"{prefix}.{number}.document.content"] = doc.text
        if doc.score is not None:
            found[f"{prefix}.{number}.document.score"] = float(doc.score)
    return found
