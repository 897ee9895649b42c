"""Requests of anonymous clients, as a trace has them: `teola simulate chat`. No app is behind them,
so each is one prompt and one text of the trace's lengths; prompts share what the trace says."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from backends.base import Engine, Outcome, Request, Result, Tokens
from backends.emulated.events.engine import EventLLM
from backends.emulated.instances import Instances
from backends.emulated.traces import TraceRow
from backends.errors import ConfigError
from backends.policy.named import policy_named
from backends.registry import EngineSpec, create
from runtime.clock import now, run_virtual
from runtime.dispatch import new_request_id
from runtime.engine_scheduler import EngineScheduler
from runtime.events import Event, EventKind, Listener
from runtime.hints import Hint
from runtime.job import Job, Started
from teola.simulation.arrivals import Arrival
from teola.simulation.served import Figures, Served, figures_of
from teola.simulation.uses import use_of
from teola.trace_file import TraceWriter
from teola.virtual import beside_loop, check_virtual

HASH_TOKENS = 512  # of a prompt, that one hash id stands for
_VOCAB = 250  # ids of made-up prompts: every tokenizer has so many
_OF_NO_APP = Hint(0, 0.0)
_QUERY, _OP = "q1", "generate"  # of the log, which has all requests as items of one map
_GRAPH = """\
graph chat {
  %prompts = input [type="list[str]"]
  %requests = map %prompts {
    %prompt = input [type="str"]
    %text = generate %prompt [engine="llm", max_tokens=1]
    return %text
  }
  return %requests
}"""


@dataclass(frozen=True, slots=True)
class Chat:
    """An LLM that serves a trace."""

    url: str
    log: Path | None = None  # start, first token and end of each request

    def run(
        self,
        arrivals: Iterable[Arrival],
        policy: str | None = None,
        on_end: Callable[[int], None] = lambda _: None,
    ) -> Figures:
        """All requests under a policy, `fcfs` where None is named. Blocks. Raises ConfigError."""
        spec = EngineSpec("llm", self.url)
        check_virtual(spec)
        engine = create(spec)
        with TraceWriter(str(self.log)) if self.log is not None else nullcontext() as log:
            serving = _Serving(engine, policy or "fcfs", log, on_end)
            return beside_loop(lambda: run_virtual(serving.serve(self.url, arrivals)))


class _Serving:
    def __init__(
        self,
        engine: Engine,
        policy: str,
        log: Listener | None,
        on_end: Callable[[int], None],
    ) -> None:
        self._engine = engine
        self._scheduler = EngineScheduler("llm", engine, policy_named(policy))
        self._log = log
        self._on_end = on_end
        self._num_ended = 0
        self._is_over = asyncio.Event()
        self._num_asked: int | None = None  # known when all have come

    async def serve(self, url: str, arrivals: Iterable[Arrival]) -> Figures:
        served: list[Served] = []
        status = "cancelled"
        try:
            await self._scheduler.load()
            self._tell("query", "", app="chat", optimized=False, graph=_GRAPH)
            for number, arrival in enumerate(arrivals):
                if arrival.at_s > now():
                    await asyncio.sleep(arrival.at_s - now())
                served.append(Served(now()))
                self._submit(number, _row_of(arrival), served[-1])
            self._num_asked = len(served)
            if self._num_ended < len(served):
                await self._is_over.wait()
            status = "ok"
            return figures_of(served, {"llm": use_of(url, self._engine)})
        finally:
            self._tell("done", "", status=status)
            await self._scheduler.close()

    def _submit(self, number: int, row: TraceRow, served: Served) -> None:
        name = f"q{number + 1}"
        node = f"requests[{number}].text"
        self._tell("ready", node, engine="llm")

        def first(_: str) -> None:
            if served.first_s is None:
                served.first_s = now()
                self._tell("first_token", node)

        def start(started: Started) -> None:
            self._tell("start", node, engine="llm", batch=started.batch, batch_size=1)

        def done(outcome: Outcome) -> None:
            served.ended_s = now()
            if isinstance(outcome, Result):
                usage = outcome.usage
                served.prefill_tokens, served.cached_tokens = (
                    usage.prefill_tokens,
                    usage.cached_tokens,
                )
                served.decode_tokens = usage.decode_tokens
                self._tell("end", node, **asdict(usage))
            else:
                served.error = outcome
                self._tell("error", node, error=str(outcome))
            self._ended()

        attrs = {"max_tokens": max(1, row.output_tokens), "ignore_eos": True}
        request = Request(
            new_request_id(), "decode", _prompt(self._engine, row, number), attrs, emit=first
        )
        self._scheduler.submit(Job(request, name, _OF_NO_APP, start, done))

    def _ended(self) -> None:
        self._num_ended += 1
        self._on_end(self._num_ended)
        if self._num_ended == self._num_asked:
            self._is_over.set()

    def _tell(self, kind: EventKind, node: str, **fields: Any) -> None:
        if self._log is not None:
            self._log(Event(now(), kind, _QUERY, node, _OP if node else "", fields))


def _row_of(arrival: Arrival) -> TraceRow:
    if arrival.row is None:
        raise ConfigError("a chat has no prompts of its own: name a trace, which has their lengths")
    return arrival.row


def _prompt(engine: Engine, row: TraceRow, number: int) -> tuple[Any, ...]:
    """The inputs of its decode: a context by its keys for an engine of `detail=events`, which needs
    no text, and token ids for another."""
    one = engine.engines[0] if isinstance(engine, Instances) else engine
    num_tokens = max(1, row.input_tokens)
    if isinstance(one, EventLLM):
        keys = _keys(row.hash_ids, one.page_size)[: num_tokens // one.page_size]
        return (one.context(num_tokens, keys),)
    return (None, Tokens(tuple(_ids(row, number, num_tokens))))


def _keys(hash_ids: tuple[int, ...], page_size: int) -> tuple[int, ...]:
    """Pages by the ids of what they are a part of; none where pages do not fit into those."""
    pages, rest = divmod(HASH_TOKENS, page_size)
    if rest:
        return ()
    if pages == 1:
        return hash_ids
    return tuple(block * pages + page for block in hash_ids for page in range(pages))


def _ids(row: TraceRow, number: int, num_tokens: int) -> Iterator[int]:
    """The same for the same hash id; what has none is the request's own."""
    for first in range(0, num_tokens, HASH_TOKENS):
        block = first // HASH_TOKENS
        is_shared = block < len(row.hash_ids)
        draw = Random(row.hash_ids[block] if is_shared else f"{number} {block}")
        yield from draw.choices(range(_VOCAB), k=min(HASH_TOKENS, num_tokens - first))
