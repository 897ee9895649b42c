"""A scripted language model."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from backends.base import Capability, EngineInfo, Request, Result, Turn, Usage
from backends.errors import ConfigError, EngineError, RequestRejected, RequestTooLong
from backends.fake.engine import FakeEngine
from backends.fake.pattern import shortest_match
from backends.fake.prefix_cache import PrefixCache

WORD = re.compile(r"\S+\s*")

_EMBEDDED: frozenset[Capability] = frozenset(
    {"prefill", "fork", "structured", "seed", "stream", "abort"}
)
_WITH_CONTEXTS: frozenset[Capability] = frozenset(
    {*_EMBEDDED, "warm_up", "decode_parts", "cached_tokens"}
)
REMOTE: Mapping[str, frozenset[Capability]] = {  # what servers can do, by what they are like
    "api": frozenset({"generate", "stream", "structured", "seed", "abort"}),
    "sglang": _WITH_CONTEXTS,
    "vllm": frozenset({*_WITH_CONTEXTS, "shares_in_flight"}),
}
_KNOWN = _WITH_CONTEXTS | {"generate", "shares_in_flight", "pin"}


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

    `capabilities` makes it a remote engine: words of `backends.base.Capability`, or the name of a
    set in `REMOTE`, which may also stand in the URL (`fake:vllm`). Without `prefill`, or with
    `warm_up`, its contexts stay with the client: a prefill costs nothing unless it runs `ahead`,
    and a decode sends the whole prompt to a server that computes one prompt after another and has
    a prefix cache (`prefix_cache.py`).
    """

    kind = "llm"
    own_options = (
        "replies",
        "token_s",
        "prefill_token_s",
        "max_context_tokens",
        "decode_parts",
        "pin",
        "capabilities",
    )

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        super().__init__(url, options)
        self.num_live_contexts = 0
        self.num_computed_tokens = 0  # of prompts
        self.pinned: list[str] = []  # the texts of contexts that were pinned
        self._able = _capabilities(url, options)
        self._is_remote = "prefill" not in self._able or "warm_up" in self._able
        shares = "shares_in_flight" in self._able
        token_s = float(options.get("prefill_token_s", 0.0))
        self._cache = PrefixCache(token_s, shares_in_flight=shares)

    async def pin(self, context: FakeContext) -> int:
        """Note that the context was pinned."""
        self.pinned.append(context.text)
        return context.num_tokens

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            kind="llm",
            model="fake",
            num_slots=self.options.get("num_slots", 64),
            capabilities=self.repeatability | self._able,
            max_context_tokens=self.options.get("max_context_tokens"),
            device=self.options.get("device", ""),
            rate_limits=self.rate_limits,
        )

    def name_in_journal(self, request: Request) -> str:
        return "prefill ahead" if request.attrs.get("ahead") else request.op

    async def answer(self, request: Request) -> Result:
        if request.op == "prefill":
            return await self._prefill(request)
        if request.op == "decode":
            return await self._decode(request)
        if request.op == "generate" and "generate" in self._able:
            return await self._generate(request)
        raise RequestRejected(f"the fake llm does not run {request.op!r}")

    async def _prefill(self, request: Request) -> Result:
        parent, *parts = request.inputs
        text, added = self._read(parent, parts)
        if not self._is_remote:
            usage = await self._compute_here(added)
        else:
            usage = await self._compute(text) if request.attrs.get("ahead") else Usage()
        return Result((self._context(text),), usage)

    async def _decode(self, request: Request) -> Result:
        parent, *parts = request.inputs
        prompt, added = self._read(parent, parts)
        is_remote = self._is_remote
        usage = await (self._compute(prompt) if is_remote else self._compute_here(added))
        texts, result = await self._write(request, prompt, usage)
        contexts = [self._context(prompt + text) for text in texts]
        context = contexts if "n" in request.attrs else contexts[0]
        return replace(result, outputs=(*result.outputs, context))

    async def _generate(self, request: Request) -> Result:
        prompt, _ = self._read(None, request.inputs)
        _, result = await self._write(request, prompt, await self._compute(prompt))
        return result

    def _read(self, parent: FakeContext | None, parts: Sequence[Any]) -> tuple[str, str]:
        """The text of the context with the parts behind it, and the parts' own."""
        added = "".join(f"<|{p.role}|>" if isinstance(p, Turn) else p for p in parts)
        text = (parent.text if parent is not None else "") + added
        limit = self.options.get("max_context_tokens")
        if limit is not None and len(text.split()) > limit:
            raise RequestTooLong(
                f"the prompt has {len(text.split())} tokens, more than the context of {limit}; "
                "shorten it or use a model with a longer context"
            )
        return text, added

    async def _compute_here(self, added: str) -> Usage:
        num_new = len(added.split())
        self.num_computed_tokens += num_new
        await asyncio.sleep(self.options.get("prefill_token_s", 0.0) * num_new)
        return Usage(prefill_tokens=num_new)

    async def _compute(self, prompt: str) -> Usage:
        """Have the server compute a prompt."""
        words, now_s = prompt.split(), asyncio.get_running_loop().time()
        computed = self._cache.compute(words, now_s)
        self.num_computed_tokens += computed.num_new
        await asyncio.sleep(computed.until_s - now_s)
        if "cached_tokens" not in self._able:
            return Usage(prefill_tokens=len(words))
        return Usage(prefill_tokens=computed.num_new, cached_tokens=computed.num_cached)

    async def _write(
        self, request: Request, prompt: str, usage: Usage
    ) -> tuple[Sequence[str], Result]:
        """The texts behind a prompt, and the result with them."""
        if "n" not in request.attrs:
            text, num_tokens, reason = await self._sample(request, prompt, request.attrs)
            usage = replace(usage, decode_tokens=num_tokens)
            return [text], Result((text,), usage, reason)
        seed = request.attrs.get("seed", 0)
        each = [{**request.attrs, "seed": seed + i} for i in range(request.attrs["n"])]
        quiet = replace(request, emit=None)
        samples = [await self._sample(quiet, prompt, attrs) for attrs in each]
        texts = [text for text, _, _ in samples]
        usage = replace(usage, decode_tokens=sum(count for _, count, _ in samples))
        was_cut = any(reason == "length" for _, _, reason in samples)
        return texts, Result((texts,), usage, "length" if was_cut else "stop")

    async def _sample(
        self, request: Request, prompt: str, attrs: Mapping[str, Any]
    ) -> tuple[str, int, Literal["stop", "length"]]:
        words = WORD.findall(self._reply(prompt, attrs))
        limit = attrs.get("max_tokens", 256)
        reason: Literal["stop", "length"] = "stop" if len(words) <= limit else "length"
        spoken = ""
        for word in words[:limit]:
            await asyncio.sleep(self.options.get("token_s", 0.0))
            if request.id in self._aborted:
                raise EngineError("the request was aborted")
            spoken += word
            if request.emit is not None and "stream" in self._able:
                request.emit(word)
        if self._is_remote:
            self._cache.keep((prompt + spoken).split(), asyncio.get_running_loop().time())
        return spoken, min(len(words), limit), reason

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


def _capabilities(url: str, options: Mapping[str, Any]) -> frozenset[Capability]:
    name = url.partition(":")[2]
    given = options.get("capabilities", name if name in REMOTE else ())
    able = REMOTE.get(given) if isinstance(given, str) else frozenset(given)
    if able is None or not able <= _KNOWN:
        raise ConfigError(
            f"unknown capabilities {given!r} of {url!r}; known: {', '.join(sorted(_KNOWN))}, "
            f"or one of the sets {', '.join(REMOTE)}"
        )
    more: set[Capability] = {name for name in ("decode_parts", "pin") if options.get(name)}
    return (able or _EMBEDDED) | more


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
