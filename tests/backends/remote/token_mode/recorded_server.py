"""A server that knows a recording: what it is asked must be what was recorded, field by field.

It refuses what the released version refuses: unknown keys of SGLang's `sampling_params`, fields of
unknown names, values of other types.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from fault_server import Answer, FaultServer, Seen, as_bytes, as_json

from backends.base import Engine, Request
from backends.remote.llm import make
from backends.remote.url import parse_url

DATA = Path(__file__).parents[3] / "data" / "remote"
FOLDERS = {"sglang": DATA / "sglang-0.5.23", "vllm": DATA / "vllm-0.32.0"}

_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "StringOrList": (str, list),
    "Int64List": (list,),
    "TokenIdsOrList": (list,),
    "BoolOrList": (bool, list),
    "Int64OrList": (int, list),
    "OptionalStringOrList": (str, list),
    "SamplingParamsOrList": (dict, list),
    "Dict[str, float]": (dict,),
}


def recorded(scheme: str, name: str) -> Any:
    return json.loads((FOLDERS[scheme] / f"{name}.json").read_text(encoding="utf-8"))


class RecordedServer:
    """Answers by a recording, and keeps what was wrong with what it was asked."""

    def __init__(self, scheme: str, recording: Mapping[str, Any]) -> None:
        self._scheme = scheme
        self._fields = recorded(scheme, "fields")
        self._pages = recorded(scheme, "server")
        changes = dict(recording.get("server", {}))
        self._refuses_priority = changes.pop("refuses_priority", False)
        for path, change in changes.items():
            self._pages[path] = {**self._pages[path], **change}
        self._left = list(recording["exchanges"])
        self.asked: list[Any] = []  # bodies of the recording's own exchanges
        self.wrong: list[str] = []

    @property
    def unasked(self) -> list[Any]:
        return [exchange["sent"] for exchange in self._left]

    def reply(self, seen: Seen) -> Answer:
        if seen.method == "GET":
            return self._page(seen.path)
        body = seen.body
        if seen.path == "/tokenize":
            return as_json(self._tokens(body))
        if (refusal := self._refusal(seen.path, body)) is not None:
            return as_json({"error": {"message": refusal, "code": 400}}, 400)
        if (answer := self._probed(seen.path, body)) is not None:
            return answer
        return self._recorded(seen.path, body)

    def _page(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            return as_json({"detail": "Not Found"}, 404)
        is_text = isinstance(page, str)
        return as_bytes(page.encode(), content_type="text/plain") if is_text else as_json(page)

    def _tokens(self, body: Mapping[str, Any]) -> Any:
        assert body["add_special_tokens"] is False
        ids = [byte_id(byte) for byte in body["prompt"].encode()]
        return {"tokens": ids, "count": len(ids), "max_model_len": 512}

    def _refusal(self, path: str, body: Mapping[str, Any]) -> str | None:
        """What the released version answers 400 to; noted, for no test means to be refused."""
        if path == "/generate":
            found = self._wrong_fields(body, self._fields["generate"])
            params = body.get("sampling_params", {})
            found = found or self._wrong_fields(params, self._fields["sampling_params"])
        elif path == "/v1/completions":
            known = dict.fromkeys(self._fields["completion"], "Any")
            grammar = dict.fromkeys(self._fields["structured_outputs"], "Any")
            found = self._wrong_fields(body, known)
            found = found or self._wrong_fields(body.get("structured_outputs", {}), grammar)
        else:
            return None
        if found:
            self.wrong.append(found)
        return found

    @staticmethod
    def _wrong_fields(body: Mapping[str, Any], known: Mapping[str, str]) -> str | None:
        for name, value in body.items():
            if name not in known:
                return f"unknown field `{name}`"
            kind = known[name].removeprefix("Optional[").removesuffix("]")
            kind = f"{kind}]" if kind.startswith("Dict[") else kind
            is_number = kind not in ("bool", "BoolOrList") and isinstance(value, bool)
            types = _TYPES.get(kind, (object,))
            if not isinstance(value, types) or (is_number and object not in types):
                return f"{name}: {value!r} is no {kind}"
        return None

    def _probed(self, path: str, body: Mapping[str, Any]) -> Answer | None:
        """What the start of an engine asks of vLLM."""
        if path == "/inference/v1/abort_requests":
            return as_json({"error": {"message": "scale-out is off"}}, 403)
        if body.get("prompt") != [0]:
            return None
        if self._refuses_priority and "priority" in body:
            message = "Got priority -1 but Priority scheduling is not enabled."
            return as_json({"error": {"message": message, "code": 400}}, 400)
        choice = {"index": 0, "text": "", "token_ids": [1], "finish_reason": "length"}
        usage = {"completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}
        return as_json({"choices": [choice], "usage": usage})

    def _recorded(self, path: str, body: Any) -> Answer:
        plain = without_id(body)
        self.asked.append(body)
        for exchange in self._left:
            if (exchange["path"], exchange["sent"]) == (path, plain):
                self._left.remove(exchange)
                return _answer(exchange)
        self.wrong.append(f"not recorded: {path} {json.dumps(plain)}")
        return as_json({"error": {"message": "not recorded"}}, 400)


def without_id(body: Mapping[str, Any]) -> dict[str, Any]:
    """Ids are drawn anew each time: 32 hex digits."""
    plain = dict(body)
    for name in ("rid", "request_id"):
        if name in plain:
            assert len(plain[name]) == 32
            assert int(plain[name], 16) >= 0
            plain[name] = "<id>"
    return plain


def byte_id(byte: int) -> int:
    """A byte's token in the tiny tokenizer: its place among the characters that stand for bytes."""
    from tokenizers import pre_tokenizers

    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [other for other in range(256) if other not in printable]
    char = chr(byte) if byte in printable else chr(256 + others.index(byte))
    return sorted(pre_tokenizers.ByteLevel.alphabet()).index(char)


def _answer(exchange: Mapping[str, Any]) -> Answer:
    if "events" not in exchange:
        return as_json(exchange["answer"], exchange.get("status", 200))
    events = "".join(f"data: {json.dumps(event)}\n\n" for event in exchange["events"])
    return as_bytes(f"{events}data: [DONE]\n\n".encode(), content_type="text/event-stream")


@asynccontextmanager
async def engine_at(
    scheme: str, server: RecordedServer, tokenizer: Path, **options: Any
) -> AsyncIterator[tuple[Engine, FaultServer]]:
    """A started engine in token mode, and the HTTP server it speaks with."""
    async with FaultServer(server.reply) as http:
        engine = make(parse_url(http.url(scheme, "tiny")), {"tokenizer": str(tokenizer), **options})
        try:
            await engine.start()
            yield engine, http
        finally:
            await engine.close()


async def ask(engine: Engine, op: str, *inputs: Any, **rest: Any) -> Any:
    """The outcome of one request, exceptions included."""
    emit, priority = rest.pop("emit", None), rest.pop("priority", 0)
    request = Request(uuid4().hex, op, inputs, rest, priority=priority, emit=emit)
    (outcome,) = await engine.execute([request])
    return outcome
