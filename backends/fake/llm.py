"""A scripted language model."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backends.base import Capability, EngineInfo, Request, Result, Turn, Usage
from backends.errors import EngineError, RequestRejected, RequestTooLong
from backends.fake.engine import FakeEngine
from backends.fake.pattern import shortest_match

WORD = re.compile(r"\S+\s*")


@dataclass(slots=True, eq=False, weakref_slot=True)
class FakeContext:
    """The whole text of a sequence; a token is a word."""

    text: str
    owner: "FakeLLM"
    released: bool = False

    @property
    def num_tokens(self) -> int:
        return len(self.text.split())

    def release(self) -> None:
        if not self.released:
            self.released = True
            self.owner.num_live_contexts -= 1


class FakeLLM(FakeEngine):
    """Answers from a script, else with words made from the prompt's hash.

    Options: `replies`, a mapping from a regular expression (searched in the whole prompt) to the
    reply; `token_s`, seconds a decoded word; `prefill_token_s`, seconds a prefilled word;
    `max_context_tokens` in words. With `decode_parts=True` a decode may bring its prompt along.
    Without a matching reply an answer held to a form is the smallest document of its JSON schema,
    the shortest text that its pattern matches, or one of its choices.
    """

    kind = "llm"
    own_options = (
        "replies",
        "token_s",
        "prefill_token_s",
        "max_context_tokens",
        "decode_parts",
        "pin",
    )

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        super().__init__(url, options)
        self.num_live_contexts = 0
        self.pinned: list[str] = []  # the texts of contexts that were pinned

    async def pin(self, context: FakeContext) -> int:
        """Note that the context was pinned."""
        self.pinned.append(context.text)
        return context.num_tokens

    @property
    def info(self) -> EngineInfo:
        able: set[Capability] = {"prefill", "fork", "structured", "seed", "stream", "abort"}
        if self.options.get("decode_parts"):
            able.add("decode_parts")
        if self.options.get("pin"):
            able.add("pin")
        return EngineInfo(
            kind="llm",
            model="fake",
            num_slots=self.options.get("num_slots", 64),
            capabilities=self.repeatability | able,
            max_context_tokens=self.options.get("max_context_tokens"),
            device=self.options.get("device", ""),
        )

    async def answer(self, request: Request) -> Result:
        if request.op == "prefill":
            return await self._prefill(request)
        if request.op == "decode":
            return await self._decode(request)
        raise RequestRejected(f"the fake llm does not run {request.op!r}")

    async def _prefill(self, request: Request) -> Result:
        text, num_new = await self._read(request)
        return Result((self._context(text),), Usage(prefill_tokens=num_new))

    async def _read(self, request: Request) -> tuple[str, int]:
        """The text of the context with the parts that the request brings, and their tokens."""
        parent, *parts = request.inputs
        added = "".join(f"<|{p.role}|>" if isinstance(p, Turn) else p for p in parts)
        text = (parent.text if parent is not None else "") + added
        limit = self.options.get("max_context_tokens")
        if limit is not None and len(text.split()) > limit:
            raise RequestTooLong(
                f"the prompt has {len(text.split())} tokens, more than the context of {limit}; "
                "shorten it or use a model with a longer context"
            )
        await asyncio.sleep(self.options.get("prefill_token_s", 0.0) * len(added.split()))
        return text, len(added.split())

    async def _decode(self, request: Request) -> Result:
        prompt, num_new = await self._read(request)
        words = WORD.findall(self._reply(prompt, request.attrs))
        limit = request.attrs.get("max_tokens", 256)
        reason: Literal["stop", "length"] = "stop" if len(words) <= limit else "length"
        spoken = ""
        for word in words[:limit]:
            await asyncio.sleep(self.options.get("token_s", 0.0))
            if request.id in self._aborted:
                raise EngineError("the request was aborted")
            spoken += word
            if request.emit is not None:
                request.emit(word)
        usage = Usage(prefill_tokens=num_new, decode_tokens=min(len(words), limit))
        return Result((spoken, self._context(prompt + spoken)), usage, reason)

    def _context(self, text: str) -> FakeContext:
        self.num_live_contexts += 1
        return FakeContext(text, self)

    def _reply(self, prompt: str, attrs: Mapping[str, Any]) -> str:
        for pattern, reply in self.options.get("replies", {}).items():
            if re.search(pattern, prompt):
                return str(reply)
        if "choices" in attrs:
            return str(attrs["choices"][_number(prompt) % len(attrs["choices"])])
        if "regex" in attrs:
            return shortest_match(attrs["regex"])
        words = _words(prompt + json.dumps(_sampling(attrs), sort_keys=True))
        if "schema" in attrs:
            return json.dumps(_smallest(attrs["schema"], attrs["schema"].get("$defs", {}), words))
        return words


def _sampling(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attrs[name] for name in ("temperature", "seed") if attrs.get(name)}


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def _words(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"reply {digest[:4]} {digest[4:8]}"


def _smallest(schema: Mapping[str, Any], defs: Mapping[str, Any], words: str) -> Any:
    if "$ref" in schema:
        return _smallest(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, words)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return _smallest(schema["anyOf"][0], defs, words)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {n: _smallest(s, defs, f"{words} {n}") for n, s in properties.items()}
        case "array":
            count = max(schema.get("minItems", 2), min(2, schema.get("maxItems", 2)))
            items = schema.get("items", {})
            return [_smallest(items, defs, f"{words} {i}") for i in range(count)]
        case "integer" | "number":
            return min(max(0, schema.get("minimum", 0)), schema.get("maximum", 0))
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return words[: schema.get("maxLength", len(words))]
