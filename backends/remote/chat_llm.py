"""An LLM at a server, in text mode: prompts go as messages or text, and the server tokenises them.

Each decode is one request with the whole prompt. A context is the parts so far, kept by the client:
a prefill sends nothing, and what it saves is up to the server's own prefix cache.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from backends.base import Capability, EngineInfo, Outcome, Part, Request, Result, total
from backends.errors import (
    EngineError,
    EngineUnavailable,
    RequestRejected,
)
from backends.fusion_reports import total_report
from backends.rate_limits import RateReport
from backends.remote.client import Client
from backends.remote.dialects.text_dialect import TextDialect
from backends.remote.engine_info import info_of
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.messages import check_answerable, read_prompt
from backends.remote.plan_named import plan_named
from backends.remote.text_call import TextCall, read_call
from backends.remote.text_context import (
    TextContext,
    as_texts,
    context_of,
    estimated_tokens,
    kept,
    parts_for,
    toolset_of,
)
from backends.remote.text_exchange import TextExchange
from backends.remote.text_probe import probe
from backends.remote.text_setup import (
    TextSetup,
    capabilities_of,
    check_options,
    server_of,
    setup_of,
)
from backends.remote.together import all_of
from backends.remote.trace_context import traceparent
from backends.remote.url import RemoteURL
from backends.served import longest_served

_PREFILL_ATTRS = frozenset(("adapter", "cache_salt", "tools", "tool_choice", "parallel_tool_calls"))


class ChatLLM:
    """Runs prefill, decode and generate. A request that is aborted or cancelled closes its
    connection."""

    def __init__(self, url: RemoteURL, options: RemoteLLMOptions, client: Client) -> None:
        """Raises ConfigError for options that the URL's scheme has no use for."""
        check_options(url, options)
        self._url = url
        self._options = options
        self._client = client
        self._server = server_of(url)
        self._owner: object = self  # of contexts
        self._exchange = TextExchange(client, self._server)
        self._setup: TextSetup | None = None
        self._model = url.model or ""  # known at the latest when it has started
        self._tasks: dict[str, asyncio.Task[Outcome]] = {}
        self._starting = asyncio.Lock()
        info = info_of("llm", url, options, capabilities=capabilities_of(url, options))
        self._info = replace(info, max_context_tokens=options.context_len)

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self) -> None:
        """Asks the server for its models. Raises EngineUnavailable."""
        async with self._starting:
            if self._setup is not None:
                return
            found = await probe(self._client, self._url)
            self._exchange.priority_sign = found.priority_sign
            self._exchange.priority_rule = found.priority_rule
            self._exchange.takes_places = found.takes_places
            more: set[Capability] = {"cached_tokens"} if found.counts_cached else set()
            more |= {"fusion"} if found.fuses else set()
            more |= {"policies"} if found.takes_policy else set()
            self._info = replace(
                self._info,
                capabilities=self._info.capabilities | more,
                max_context_tokens=self._options.context_len or found.max_context_tokens,
            )
            self._model = found.model
            self._setup = setup_of(self._url, found.model, self._options)

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller aborts them all."""
        setup = self._setup
        if setup is None:
            raise EngineUnavailable(f"{self._url.text} is not started; call start() first")
        own: list[asyncio.Task[Outcome]] = []
        for request in requests:
            own.append(asyncio.create_task(self._outcome(setup, request)))
            self._tasks[request.id] = own[-1]
        try:
            await asyncio.gather(*own, return_exceptions=True)
        finally:
            for request, task in zip(requests, own, strict=True):
                task.cancel()
                if self._tasks.get(request.id) is task:
                    del self._tasks[request.id]
        return [_settled(task) for task in own]

    def abort(self, request_id: str) -> None:
        task = self._tasks.get(request_id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        self._setup = None
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._exchange.close()
        await self._client.close()

    def share_contexts(self, owner: object) -> None:
        """From now on make contexts of this owner, and take those of all engines that do."""
        self._owner = owner

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        """Call `tell` with what each answer says of the account's rate limits."""
        self._client.on_rates = tell

    async def _outcome(self, setup: TextSetup, request: Request) -> Outcome:
        traceparent.set(request.traceparent)
        try:
            return await self._run(setup, request)
        except Exception as error:  # the outcome of this request alone
            return error

    async def _run(self, setup: TextSetup, request: Request) -> Result:
        if request.op == "prefill":
            return self._prefill(request)
        if request.op == "decode":
            parent = context_of(request, self._owner)
            parts = (*(parent.parts if parent else ()), *parts_for(request))
            result, prompt_tokens = await self._write(setup, request, parent, parts)
            contexts = self._contexts(result, parts, request, parent, prompt_tokens)
            return replace(result, outputs=(result.outputs[0], contexts))
        if request.op == "generate":
            return (await self._write(setup, request, None, as_texts(request.inputs)))[0]
        if request.op == "select":
            return await self._select(request)
        if request.op == "encode":
            return await self._encode(request)
        raise RequestRejected(
            f"an LLM engine in text mode has no op {request.op!r}; it has prefill, decode and "
            "generate, and select where a server scores texts"
        )

    async def _encode(self, request: Request) -> Result:  # noqa: ARG002
        raise RequestRejected(f"{self._server.name} does not offer KV cache fusion")

    async def _select(self, request: Request) -> Result:  # noqa: ARG002
        raise RequestRejected(
            f"select needs log-probabilities of given texts, which {self._server.name} does not "
            "give: use decode with choices, or an engine that scores them (local:, sglang://, "
            "vllm://, teola://)"
        )

    def _prefill(self, request: Request) -> Result:
        takes = _PREFILL_ATTRS | (self._info.capabilities & {"fusion"})
        unknown = {name for name, value in request.attrs.items() if value} - takes
        if unknown:
            raise RequestRejected(
                f"prefill takes no attribute {min(unknown)!r} here; it takes "
                f"{', '.join(sorted(takes))}"
            )
        parent = context_of(request, self._owner)
        parts = (*(parent.parts if parent else ()), *parts_for(request))
        tools = toolset_of(request, parent)
        read_prompt(parts, has_tools=tools is not None)  # refused now, not when it is read
        new = estimated_tokens(request.inputs[1:])
        num_tokens = new + (parent.num_tokens if parent else 0)
        return Result((self._context(parts, num_tokens, request, parent),))

    def _context(
        self,
        parts: Sequence[Part],
        num_tokens: int,
        request: Request,
        parent: TextContext | None,
    ) -> TextContext:
        return TextContext(
            self._owner,
            tuple(parts),
            num_tokens,
            kept(request, parent, "adapter"),
            kept(request, parent, "cache_salt"),
            toolset_of(request, parent),
            plan_named(request.attrs.get("fusion"), parent.fusion if parent else None),
        )

    def _contexts(
        self,
        result: Result,
        parts: Sequence[Part],
        request: Request,
        parent: TextContext | None,
        prompt_tokens: int | None,
    ) -> Any:
        """One behind each text, in a list where the texts are in one."""
        before = estimated_tokens(parts) if prompt_tokens is None else prompt_tokens
        written = result.usage.decode_tokens // max(1, len(result.samples))

        def after(text: str) -> TextContext:
            longer = (*parts, text) if text else parts
            return self._context(longer, before + written, request, parent)

        texts = result.outputs[0]
        return [after(text) for text in texts] if isinstance(texts, list) else after(texts)

    async def _write(
        self,
        setup: TextSetup,
        request: Request,
        parent: TextContext | None,
        parts: Sequence[object],
    ) -> tuple[Result, int | None]:
        """The texts with what they cost, and the prompt's tokens if the server told."""
        prompt = read_prompt(parts, has_tools=toolset_of(request, parent) is not None)
        check_answerable(prompt)
        call = read_call(request, prompt, parent)
        dialect = setup.chat if prompt.turns else setup.plain
        calls = _split(call, dialect, self._server.seeds_count_up)
        answers = await all_of(self._exchange.answer(dialect, one, request.emit) for one in calls)
        texts = [text for found in answers for text in found[0].outputs]
        samples = tuple(sample for found in answers for sample in found[0].samples)
        is_cut = any(sample.finish_reason == "length" for sample in samples)
        result = Result(
            (texts if call.sampling.n > 1 else texts[0],),
            total([found[0].usage for found in answers]),
            "length" if is_cut else samples[0].finish_reason,
            samples,
            fusion=total_report(found[0].fusion for found in answers),
            served=longest_served(found[0].served for found in answers),
        )
        return result, answers[0][1]


def _settled(task: "asyncio.Task[Outcome]") -> Outcome:
    return EngineError("the request was aborted") if task.cancelled() else task.result()


def _split(call: TextCall, dialect: TextDialect, seeds_count_up: bool) -> list[TextCall]:
    """One call, or one a sample where the server cannot make so many of these seeds."""
    sampling = call.sampling
    is_one = sampling.n <= dialect.max_samples and (sampling.seed is None or seeds_count_up)
    if sampling.n == 1 or is_one:
        return [call]
    seeds = [None if sampling.seed is None else sampling.seed + k for k in range(sampling.n)]
    return [
        replace(call, id=uuid4().hex, sampling=replace(sampling, n=1, seed=seed)) for seed in seeds
    ]
