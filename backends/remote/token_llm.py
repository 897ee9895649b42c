"""An LLM server in token mode: contexts are token ids here, each decode sends the whole prompt.

The server's prefix cache does the reuse. A prefill asks nothing of it but for one that runs
`ahead`, which is a warm-up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from backends.base import Capability, EngineInfo, Outcome, Request, Result
from backends.engine_load import EngineLoad
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.rate_limits import RateReport
from backends.remote.dialects.token_dialect import EncodesChunks, TakesWords, TokenDialect
from backends.remote.guesses_there import GuessesThere
from backends.remote.server_client import ServerClient
from backends.remote.together import all_of
from backends.remote.token_mode.aborts import Aborts
from backends.remote.token_mode.call import Call, Cost, ServerFacts
from backends.remote.token_mode.context import TokenContext
from backends.remote.token_mode.kept_there import KeptThere, Reading
from backends.remote.token_mode.output import Emit, Output
from backends.remote.token_mode.reading import Decode, RequestReader
from backends.remote.token_mode.result import result_of
from backends.remote.token_mode.same_tokenizer import check_same_tokenizer
from backends.remote.trace_context import traceparent

T = TypeVar("T")
_LONG_CHARS = 4096  # longer prompts are tokenised on a thread

Connect = Callable[[ServerClient], Awaitable[TokenDialect]]
Load = Callable[[ServerFacts], PromptEncoder]  # the tokenizer; reads files


class TokenLLM:
    """Runs prefill, decode, generate and select at one server."""

    def __init__(
        self, info: EngineInfo, client: ServerClient, connect: Connect, load: Load
    ) -> None:
        """`info` is what is known without the server. `connect` is called once, and `load` once
        after it, on a thread."""
        self._info = info
        self._client = client
        self._connect = connect
        self._load = load
        self._dialect: TokenDialect | None = None
        self._reader: RequestReader | None = None
        self._kept: KeptThere | None = None  # None: the server keeps no contexts
        self._guesses: GuessesThere | None = None  # None: it takes none
        self._is_exact = False  # fusion was promised, and the server cannot
        self._starting = asyncio.Lock()
        self._is_closed = False
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._aborts = Aborts(lambda call_id: self._started()[0].abort(call_id))

    @property
    def info(self) -> EngineInfo:
        """From `start` on what the server has, too."""
        return self._info

    async def start(self) -> None:
        """Ask what the server is, and whether its tokenizer is ours. Raises EngineUnavailable."""
        async with self._starting:
            if self._is_closed:
                raise EngineUnavailable(f"engine {self._info.model} was closed; make a new one")
            if self._reader is None:
                await self._start()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller aborts them all."""
        tasks = [self._enter(request) for request in requests]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [_outcome_of(task) for task in tasks]

    def abort(self, request_id: str) -> None:
        if task := self._running.get(request_id):
            task.cancel()

    async def load(self) -> EngineLoad:
        """How busy the server is. Raises EngineError where it does not answer."""
        return await self._started()[0].load()

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """See `backends.base.Expecting`: goes to a server that keeps contexts, and to no other."""
        if self._kept is not None:
            self._kept.expect(uses)

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        """See `backends.rate_limits.ReportsRates`."""
        self._client.on_rates = tell

    async def close(self) -> None:
        """End what runs, tell the server so, and close its connections."""
        self._is_closed = True
        for task in self._running.values():
            task.cancel()
        while waiting := {*self._running.values(), *self._aborts.telling}:
            await asyncio.wait(waiting)
        if self._kept is not None:
            await self._kept.close()
        if self._guesses is not None:
            await self._guesses.close()
        await self._client.close()

    async def _start(self) -> None:
        dialect = await self._connect(self._client)
        facts = await dialect.probe()
        prompts = await asyncio.to_thread(self._load, facts)
        await check_same_tokenizer(dialect, prompts, self._info.model)
        lengths = (self._info.max_context_tokens, facts.max_context_tokens)
        limit = min((length for length in lengths if length is not None), default=None)
        fuses = "fusion" in facts.capabilities
        self._is_exact = "fusion" in self._info.capabilities and not fuses
        lacks: set[Capability] = {"fusion"} if self._is_exact else set()
        if "next_use" not in facts.capabilities:
            lacks.add("next_use")
        elif isinstance(dialect, TakesWords):
            self._kept = KeptThere(dialect.tell)
        if "guesses" in facts.capabilities and isinstance(dialect, TakesWords):
            self._guesses = GuessesThere(dialect.tell)
        able = (self._info.capabilities | facts.capabilities) - lacks
        self._info = replace(self._info, capabilities=able, max_context_tokens=limit)
        self._dialect = dialect
        self._reader = RequestReader(prompts, self._info.model, limit, fuses=fuses)

    def _enter(self, request: Request) -> "asyncio.Task[Outcome]":
        task = asyncio.create_task(self._run(request), name=f"{request.op} {request.id}")
        self._running[request.id] = task
        task.add_done_callback(partial(self._leave, request.id))
        return task

    def _leave(self, request_id: str, task: "asyncio.Task[Outcome]") -> None:
        if self._running.get(request_id) is task:
            del self._running[request_id]

    async def _run(self, request: Request) -> Outcome:
        traceparent.set(request.traceparent)
        guesses = self._guesses
        try:
            with nullcontext() if guesses is None else guesses.under_way(request.place):
                return await self._answer(request)
        except EngineError as error:
            return error
        except Exception as error:
            failure = EngineError(f"{self._info.model}: {type(error).__name__}: {error}")
            failure.__cause__ = error
            return failure

    async def _answer(self, request: Request) -> Result:
        _, reader = self._started()
        if request.op == "prefill":
            return await self._prefill(request)
        if request.op == "decode":
            return await self._decode(request, await _read(request, reader.decode))
        if request.op == "generate":
            result = await self._decode(request, await _read(request, reader.generate))
            return replace(result, outputs=result.outputs[:1])
        if request.op == "select":
            return await self._select(request)
        if request.op == "encode":
            return await self._encode(request)
        raise RequestRejected(
            f"an LLM engine has no op {request.op!r}; it has prefill, decode, generate and select"
        )

    async def _prefill(self, request: Request) -> Result:
        dialect, reader = self._started()
        if self._is_exact:
            attrs = {name: value for name, value in request.attrs.items() if name != "fusion"}
            request = replace(request, attrs=attrs)
        context, is_ahead = await _read(request, reader.prefill)
        if not is_ahead or not context.num_tokens:
            return Result((context,))
        reading = self._reading(context, request)
        prompt = replace(reader.prompt_of(context, request), contexts=_fields_of(reading))
        cost = await self._aborts.around(request.id, dialect.warm_up(prompt))
        self._note_left([reading], [context])
        return Result((context,), cost.usage, fusion=cost.fusion)

    async def _decode(self, request: Request, decode: Decode) -> Result:
        dialect, reader = self._started()
        calls = [replace(c, streams=c.streams or dialect.must_stream(c)) for c in decode.calls]
        dialect.check(calls[0])
        before = Cost()
        if len(calls) > 1 and "shares_in_flight" not in self._info.capabilities:
            prompt = reader.prompt_of(decode.prompt, request)
            before = await self._aborts.around(request.id, dialect.warm_up(prompt))
        readings = [self._reading(decode.prompt, request) for _ in calls]
        pairs = zip(calls, readings, strict=True)
        sent = [replace(call, contexts=_fields_of(reading)) for call, reading in pairs]
        outputs = await all_of(self._output(call, request.emit) for call in sent)
        result = result_of(decode, calls, outputs, before)
        after = result.outputs[1]
        self._note_left(readings, after if isinstance(after, list) else [after])
        decode.prompt.release()  # nobody else has it
        return result

    def _reading(self, prompt: TokenContext, request: Request) -> Reading | None:
        """Which contexts the server reads and keeps for a request; None: it keeps none."""
        if self._kept is None or prompt.fusion is not None:
            return None
        given = request.inputs[0] if request.inputs and request.op != "generate" else None
        return self._kept.reading(prompt, given, request.next_read_s)

    def _note_left(
        self, readings: Sequence[Reading | None], contexts: Sequence[TokenContext]
    ) -> None:
        for reading, context in zip(readings, contexts, strict=True):
            if self._kept is not None and reading is not None:
                self._kept.left(reading, context)

    async def _output(self, call: Call, emit: Emit | None) -> Output:
        """Runs one call to its end, which the server sees or we do."""
        dialect, reader = self._started()
        output = Output(reader.prompts, call, emit)
        has_server_ended = False
        stream = dialect.run(call)
        try:
            async for delta in stream:
                is_over = output.take(delta)
                has_server_ended = has_server_ended or delta.finish is not None
                if is_over and not has_server_ended:
                    break
        except BaseException as error:
            self._aborts.failed(call.id, error)
            raise
        finally:
            await stream.aclose()
        if not has_server_ended:
            if not output.is_over:
                raise EngineError(f"{self._info.model} ended an answer without a reason")
            self._aborts.tell(call.id)
        return output

    async def _encode(self, request: Request) -> Result:
        dialect, reader = self._started()
        if "fusion" not in self._info.capabilities or not isinstance(dialect, EncodesChunks):
            raise RequestRejected(f"{self._info.model} does not offer KV cache fusion")
        prompt = await _read(request, reader.encode)
        if not prompt.chunks:
            return Result((0,))
        num_new, cost = await self._aborts.around(request.id, dialect.encode(prompt))
        return Result((num_new,), cost.usage)

    async def _select(self, request: Request) -> Result:
        dialect, reader = self._started()
        select = await _read(request, reader.select)
        scoring = dialect.score(select.prompt, select.choices)
        scores, cost = await self._aborts.around(request.id, scoring)
        if select.score == "mean":
            scores = [
                score / len(ids) for score, (_, ids) in zip(scores, select.choices, strict=True)
            ]
        best = scores.index(max(scores))
        text, ids = select.choices[best]
        context = select.context.extended(ids, select.context.turn)
        return Result((text, scores, context), cost.usage, fusion=cost.fusion)

    def _started(self) -> tuple[TokenDialect, RequestReader]:
        if self._dialect is None or self._reader is None:
            raise EngineUnavailable(f"engine {self._info.model} is not running: call start()")
        return self._dialect, self._reader


def _fields_of(reading: Reading | None) -> dict[str, Any] | None:
    return None if reading is None else reading.fields


async def _read(request: Request, read: Callable[[Request], T]) -> T:
    """On a thread where the prompt is long."""
    size = sum(len(part) for part in request.inputs if isinstance(part, str))
    return await asyncio.to_thread(read, request) if size > _LONG_CHARS else read(request)


def _outcome_of(task: "asyncio.Task[Outcome]") -> Outcome:
    return EngineError("the request was aborted") if task.cancelled() else task.result()
