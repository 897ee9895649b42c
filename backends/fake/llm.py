"""A scripted language model."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.base import Chunk, EngineInfo, Request, Result, Usage
from backends.errors import RequestAborted, RequestRejected, RequestTooLong
from backends.fake.capabilities import capabilities_of
from backends.fake.chunk_cache import ChunkCache
from backends.fake.engine import FakeEngine
from backends.fake.prefix_cache import PrefixCache
from backends.fake.replies import number_of, reply_to
from backends.fake.turns import Spoken, show, text_of, tools_of, turn_stream
from backends.llm.requests.inputs import choices_of
from backends.tool_calls.tools import Toolset

WORD = re.compile(r"\S+\s*")


@dataclass(slots=True, eq=False, weakref_slot=True)
class FakeContext:
    """The whole text of a sequence; a token is a word."""

    text: str
    owner: "FakeLLM"
    tools: Toolset | None = None
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
    reply (an exception is raised), or a `Script`; `token_s`, seconds a decoded word;
    `prefill_token_s`, seconds a prefilled word; `max_context_tokens` in words. With
    `decode_parts=True` a decode may bring its prompt along; with `chunks=True` a prefill takes the
    attribute `fusion`, and computes a word of a chunk once. Without a matching reply an answer
    held to a form is the smallest document of its JSON schema, the shortest text that its pattern
    matches, or one of its choices; where a tool must be called, the first one with the smallest
    arguments. Replies hold tool calls in the Hermes format, and so do prompts.

    `capabilities` makes it a remote engine: words of `backends.base.Capability`, or the name of a
    set in `capabilities.REMOTE`, which may also stand in the URL (`fake:vllm`). Without `prefill`,
    or with `warm_up`, its contexts stay with the client: a prefill costs nothing unless it runs
    `ahead`, and a decode sends the whole prompt to a server that computes one prompt after another
    and has a prefix cache (`prefix_cache.py`).
    """

    kind = "llm"
    own_options = (
        "replies",
        "token_s",
        "prefill_token_s",
        "max_context_tokens",
        "decode_parts",
        "pin",
        "next_use",
        "chunks",
        "capabilities",
    )

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        super().__init__(url, options)
        self.num_live_contexts = 0
        self.num_computed_tokens = 0  # of prompts
        self.pinned: list[str] = []  # the texts of contexts that were pinned
        self.expected: list[
            tuple[str, float]
        ] = []  # the texts of contexts, and in how many seconds
        self._able = capabilities_of(url, options)
        self._is_remote = "prefill" not in self._able or "warm_up" in self._able
        shares = "shares_in_flight" in self._able
        token_s = float(options.get("prefill_token_s", 0.0))
        self._cache = PrefixCache(token_s, shares_in_flight=shares)
        self._chunks = ChunkCache()

    async def pin(self, context: FakeContext) -> int:
        """Note that the context was pinned."""
        self.pinned.append(context.text)
        return context.num_tokens

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """Note when contexts are expected to be read."""
        self.expected += [(context.text, after_s) for context, after_s in uses]

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
        if "tools" not in self._able and request.attrs.get("tools"):
            raise RequestRejected("this fake llm has not the capability 'tools'")
        if request.op == "prefill":
            return await self._prefill(request)
        if request.op == "decode":
            return await self._decode(request)
        if request.op == "encode" and "fusion" in self._able:
            return await self._encode(request)
        if request.op == "generate" and "generate" in self._able:
            return await self._generate(request)
        if request.op == "select" and "select" in self._able:
            return await self._select(request)
        raise RequestRejected(f"the fake llm does not run {request.op!r}")

    async def _prefill(self, request: Request) -> Result:
        tools = tools_of(request)
        text, added = self._read(request, tools)
        if "fusion" in request.attrs:
            return await self._fused(request, self._context(text, tools))
        if not self._is_remote:
            usage = await self._compute_here(added)
        else:
            usage = await self._compute(text) if request.attrs.get("ahead") else Usage()
        return Result((self._context(text, tools),), usage)

    async def _fused(self, request: Request, context: FakeContext) -> Result:
        if "fusion" not in self._able:
            raise RequestRejected("this fake llm has not the capability 'fusion'")
        parent, *parts = request.inputs
        texts = [part if isinstance(part, str) else text_of(part, None) for part in parts]
        before = "" if parent is None else parent.text
        usage, report = self._chunks.prefill(before, texts, request.attrs["fusion"])
        await self._wait_for(usage.prefill_tokens)
        return Result((context,), usage, fusion=report)

    async def _encode(self, request: Request) -> Result:
        parent, *parts = request.inputs
        texts = [part if isinstance(part, str) else text_of(part, None) for part in parts]
        chunks = [text for text in texts if isinstance(text, Chunk)]
        head = texts[: texts.index(chunks[0])] if chunks else []
        prefix = "".join([parent.text if parent is not None else "", *head])
        num_new, num_words = 0, 0
        for chunk in chunks:
            more, computed = self._chunks.encode(prefix, [chunk])
            num_new, num_words = num_new + more, num_words + computed
            await self._wait_for(computed)
            if request.id in self._aborted:
                raise RequestAborted
        return Result((num_new,), Usage(prefill_tokens=num_words))

    async def _decode(self, request: Request) -> Result:
        tools = tools_of(request)
        prompt, added = self._read(request, tools)
        is_remote = self._is_remote
        usage = await (self._compute(prompt) if is_remote else self._compute_here(added))
        texts, result = await self._write(request, prompt, tools, usage)
        contexts = [self._context(prompt + text, tools) for text in texts]
        context = contexts if "n" in request.attrs else contexts[0]
        return replace(result, outputs=(*result.outputs, context))

    async def _generate(self, request: Request) -> Result:
        whole = replace(request, inputs=(None, *request.inputs))
        tools = tools_of(whole)
        prompt, _ = self._read(whole, tools)
        _, result = await self._write(request, prompt, tools, await self._compute(prompt))
        return result

    async def _select(self, request: Request) -> Result:
        """The choice that the script replies, else one by the prompt's hash."""
        context, choices = request.inputs[0], choices_of(request)
        if context is None:
            raise RequestRejected("select needs a context with some text; prefill it")
        prompt = context.text
        words = " ".join(choices)
        usage = await (self._compute(prompt) if self._is_remote else self._compute_here(words))
        reply = self._reply(prompt, None, {"choices": choices})
        best = reply if reply in choices else choices[number_of(prompt) % len(choices)]
        scores = [-0.5 if choice == best else -2.0 for choice in choices]
        return Result((best, scores, self._context(prompt + best, context.tools)), usage)

    def _read(self, request: Request, tools: Toolset | None) -> tuple[str, str]:
        """The text of the context with the parts behind it, and the parts' own."""
        parent, *parts = request.inputs
        added = "".join(text_of(part, tools) for part in parts)
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
        await self._wait_for(num_new)
        return Usage(prefill_tokens=num_new)

    async def _wait_for(self, num_tokens: int) -> None:
        self.num_computed_tokens += num_tokens
        await asyncio.sleep(self.options.get("prefill_token_s", 0.0) * num_tokens)

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
        self, request: Request, prompt: str, tools: Toolset | None, usage: Usage
    ) -> tuple[Sequence[str], Result]:
        """The texts behind a prompt as the model writes them, and the result with what is read of
        them."""
        if "n" not in request.attrs:
            spoken = await self._sample(request, prompt, tools, request.attrs)
            usage = replace(usage, decode_tokens=spoken.num_tokens)
            sample = spoken.sample
            return [spoken.text], Result(
                (spoken.output,), usage, sample.finish_reason, (sample,) if tools else ()
            )
        seed = request.attrs.get("seed", 0)
        each = [{**request.attrs, "seed": seed + i} for i in range(request.attrs["n"])]
        quiet = replace(request, emit=None)
        samples = [await self._sample(quiet, prompt, tools, attrs) for attrs in each]
        usage = replace(usage, decode_tokens=sum(spoken.num_tokens for spoken in samples))
        was_cut = any(spoken.sample.finish_reason == "length" for spoken in samples)
        return [spoken.text for spoken in samples], Result(
            ([spoken.output for spoken in samples],),
            usage,
            "length" if was_cut else "stop",
            tuple(spoken.sample for spoken in samples) if tools else (),
        )

    async def _sample(
        self, request: Request, prompt: str, tools: Toolset | None, attrs: Mapping[str, Any]
    ) -> Spoken:
        words = WORD.findall(self._reply(prompt, tools, attrs))
        limit = attrs.get("max_tokens", 256)
        turn = turn_stream(tools) if tools is not None else None
        emit = request.emit if "stream" in self._able else None
        text = ""
        for num_written, word in enumerate(words[:limit]):
            await asyncio.sleep(self.options.get("token_s", 0.0))
            if request.id in self._aborted:
                raise RequestAborted(usage=Usage(decode_tokens=num_written))
            text += word
            show(emit, word if turn is None else turn.feed(word))
        if turn is not None:
            show(emit, turn.finish())
        if self._is_remote:
            self._cache.keep((prompt + text).split(), asyncio.get_running_loop().time())
        return Spoken(text, turn, min(len(words), limit), was_cut=len(words) > limit)

    def _context(self, text: str, tools: Toolset | None) -> FakeContext:
        self.num_live_contexts += 1
        return FakeContext(text, self, tools)

    def _reply(self, prompt: str, tools: Toolset | None, attrs: Mapping[str, Any]) -> str:
        return reply_to(prompt, tools, attrs, self.options.get("replies", {}))
