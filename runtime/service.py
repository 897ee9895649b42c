"""Runs the queries of all apps of this process over one set of engines."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any, cast

from backends.base import Engine, Expecting, Usage
from backends.errors import ConfigError
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.registry import EngineSpec, create, service_of
from runtime.ahead import Ahead
from runtime.branch_history import BranchHistory
from runtime.branches import Branches
from runtime.caller import ANYBODY, Caller
from runtime.cost.latency import EngineLatency
from runtime.door import MAX_QUERIES, Door
from runtime.engine_scheduler import EngineScheduler, close_all
from runtime.errors import QueryCancelled, QueryTimeout
from runtime.events import Listener
from runtime.gates import Gates
from runtime.graph_scheduler import Query
from runtime.guess_budget import GuessBudget, Spendings
from runtime.guesses import GuessHistory
from runtime.job import Scheduler
from runtime.layout import Layout
from runtime.memo.memos import Memos
from runtime.metered import MeteredScheduler
from runtime.next_uses import Homes, NextUses
from runtime.outputs import Outputs
from runtime.pinned_heads import PinnedHeads
from runtime.prefix_orders import Order, PrefixOrders
from runtime.recorded import Record, RecordedScheduler
from runtime.run_ahead import RunAhead
from runtime.run_store.gate import StoringScheduler
from runtime.run_store.stored_run import RunPart
from runtime.step_history import StepHistory
from runtime.telling import Teller
from runtime.unread_options import UnreadOptions
from runtime.waiting.choices import PolicyChoices
from runtime.watched import WatchedScheduler


class Runtime:
    """Engines are made when first named and shared by every app that asks for the same one."""

    def __init__(
        self,
        policy: Policy = application_aware,
        latency_of: Callable[[EngineSpec], EngineLatency] | None = None,
        make: Callable[[EngineSpec], Engine] = create,
        on_aborted: Callable[[Usage], None] = lambda _: None,
        max_queries: int = MAX_QUERIES,
    ) -> None:
        """`on_aborted` is told what engines computed for requests that were cancelled. At most
        `max_queries` run at once; more are refused."""
        self.door = Door(max_queries)
        self._policy = policy
        self._policies = PolicyChoices(policy)
        self._make = make
        self._latency_of = latency_of
        self._on_aborted = on_aborted
        self._schedulers: dict[str, EngineScheduler] = {}  # by EngineSpec.key
        self._urls: dict[str, str] = {}  # by EngineSpec.key
        self._names = count(1)
        self._gates = Gates()
        self._heads = PinnedHeads()
        self._guesses: dict[EngineScheduler, GuessHistory] = {}
        self._orders = PrefixOrders()
        self._homes = Homes()
        self._choices = BranchHistory()
        self.spendings = Spendings()
        self._steps = StepHistory()
        self._unread = UnreadOptions()

    async def run(
        self,
        layout: Layout,
        inputs: Mapping[str, Any],
        engines: Mapping[str, EngineSpec],
        symbols: Mapping[str, Any],
        *,
        about: Mapping[str, Any] | None = None,
        listener: Listener | None = None,
        timeout_s: float | None = None,
        memo: bool | str = False,
        salt: str | None = None,
        policy: Policy | None = None,
        outputs: Outputs | None = None,
        record: Record | None = None,
        traceparent: Callable[[str], str] | None = None,
        stored: RunPart | None = None,
        caller: Caller = ANYBODY,
        speculate: float | None = None,
        ahead: RunAhead | None = None,
    ) -> list[Any]:
        """The values the graph returns; `outputs` hears of each as soon as it is there.

        `about` goes into the query's first event. With `memo`, pure work of equal content is not
        done again; a path names the folder that remembers it beyond the process. Queries share
        what they remember, and KV, only where their `salt` is the same. A `policy` orders what
        waits at the query's engines while it runs. `record` sees each request with its result.
        `traceparent` gives the trace context of the request at a place of the run. What a `stored`
        run finished before is not done again, and what it finishes is kept. `caller` says for whom
        it is. With `speculate`, likely branches begin before they are chosen, while no more than
        this share of what was of use is wasted (`guess_budget.py`); not in runs that are
        recorded or stored. The queries of one run of an `async def` app have one `ahead`.

        Raises EngineOverloaded where too much runs or waits already, QueryTimeout after
        `timeout_s`, NodeFailed if a primitive failed, ConfigError for an engine that cannot be
        named or that a running query wants to be ordered otherwise.
        Cancelling the awaiting task cancels the query.
        """
        schedulers = {name: self.scheduler(name, spec) for name, spec in engines.items()}
        with (
            self.door.entered(schedulers.values()),
            self._policies.held(schedulers.values(), policy),
        ):
            policies = [scheduler.policy for scheduler in schedulers.values()]
            self._unread.check(caller.given, policies, engines.values())
            for scheduler in schedulers.values():
                scheduler.warm_up()
            gates: dict[str, Scheduler] = {
                name: self._gates.gate(scheduler, engines[name], memo, salt)
                for name, scheduler in schedulers.items()
            }
            if record is not None:
                gates = {name: RecordedScheduler(gate, record) for name, gate in gates.items()}
            if stored is not None:
                gates = {
                    name: StoringScheduler(
                        gate,
                        stored,
                        name,
                        engines,
                        is_volatile="keeps" not in _able_of(schedulers[name]),
                    )
                    for name, gate in gates.items()
                }
            self._heads.ask(layout.heads, schedulers, salt)
            name = f"q{next(self._names)}"
            order = partial(self._orders.order, salt)
            guesses = self._guesses_at(schedulers, engines)
            branches = None
            if speculate is not None and record is None and stored is None:
                own = GuessBudget(speculate, self.spendings.of(layout.graph.name))
                budget = own if ahead is None else ahead.budget
                branches = self._branches(budget, gates, symbols, order, caller)
                gates = {each: MeteredScheduler(gate, budget) for each, gate in gates.items()}
                if ahead is not None:
                    teller = Teller(name, listener, lambda _: None)
                    place = outputs.place if outputs is not None else ""
                    gate_of = partial(self._gate_of_guesses, memo, salt)
                    ahead.enter(place, inputs, teller, gate_of)
                    gates = {
                        each: WatchedScheduler(ahead, gate, each, engines[each])
                        for each, gate in gates.items()
                    }
            query = Query(
                name,
                layout,
                inputs,
                gates,
                symbols,
                listener,
                outputs,
                order,
                guesses,
                traceparent,
                caller,
                self._next_uses(layout, schedulers, symbols, outputs),
                branches,
            )
            return await _result(query, about or {}, timeout_s)

    def run_ahead(self, app: str, share: float, options: Hashable = None) -> RunAhead:
        """What guesses in one run of an `async def` app; runs of unlike `options` learn apart."""
        budget = GuessBudget(share, self.spendings.of(app))
        return RunAhead((app, options), budget, self._steps)

    def _gate_of_guesses(
        self, memo: bool | str, salt: str | None, _: str, spec: EngineSpec
    ) -> Scheduler | None:
        scheduler = self._schedulers.get(spec.key)
        if scheduler is None or (spec.kind == "llm" and "pin" not in _able_of(scheduler)):
            return None
        return self._gates.gate(scheduler, spec, memo, salt)

    def scheduler(self, name: str, spec: EngineSpec) -> EngineScheduler:
        """The scheduler of the engine that serves `spec`, made when first asked for."""
        if spec.key not in self._schedulers:
            try:
                engine = self._make(spec)
            except ConfigError as error:
                raise ConfigError(f"engine {name!r}: {error}") from error
            self._urls[spec.key] = spec.url
            self._gates.made(spec)
            latency = self._latency_of(spec) if self._latency_of is not None else None
            service = service_of(spec)
            scheduler = EngineScheduler(
                name, engine, self._policy, latency, self._on_aborted, service
            )
            self._schedulers[spec.key] = scheduler
        return self._schedulers[spec.key]

    def crowded(self, engines: Callable[[], Iterable[EngineSpec]]) -> Iterator[EngineScheduler]:
        """Those of the engines at which too much waits for a new query. It asks which are meant
        only where there is one. Any thread may ask."""
        made = [*self._schedulers.items()]
        full = {key: each for key, each in made if each.num_waiting >= each.max_waiting}
        keys = {spec.key for spec in engines()} if full else set()
        yield from (each for key, each in full.items() if key in keys)

    @property
    def memos(self) -> Memos:
        """What queries remember for each other."""
        return self._gates.memos

    @property
    def engines(self) -> list[tuple[str, Engine]]:
        """Those that were made, with their URLs. Any thread may ask."""
        schedulers = [*self._schedulers.items()]
        return [(self._urls.get(key, ""), scheduler.engine) for key, scheduler in schedulers]

    async def load(self, engines: Mapping[str, EngineSpec]) -> dict[str, Exception]:
        """Load engines before they are needed; what kept some of them from it, by their names.

        Raises ConfigError for one that cannot be made.
        """
        schedulers = [self.scheduler(name, spec) for name, spec in engines.items()]
        found = await asyncio.gather(*(s.load() for s in schedulers), return_exceptions=True)
        outcomes = zip(engines, found, strict=True)
        return {name: error for name, error in outcomes if isinstance(error, Exception)}

    async def forget(self, keys: Iterable[str]) -> None:
        """Close the engines of these spec keys, which nobody will ask for again."""
        gone = {key: self._schedulers.pop(key) for key in keys if key in self._schedulers}
        for key, scheduler in gone.items():
            self._urls.pop(key, None)
            self._gates.forget(key, scheduler)
            self._guesses.pop(scheduler, None)
        await close_all(gone)

    def _branches(
        self,
        budget: GuessBudget,
        engines: Mapping[str, Scheduler],
        symbols: Mapping[str, Any],
        order: Order,
        caller: Caller,
    ) -> Callable[[str, Teller], Branches]:
        """What guesses the conditions of a query; a guess is a query of its own."""

        def make(part: Layout, inputs: Mapping[str, Any], ahead: Ahead) -> Query:
            query = Query(
                f"q{next(self._names)}",
                part,
                inputs,
                engines,
                symbols,
                outputs=Outputs(lambda *_: None, on_text=ahead.text),
                order=order,
                caller=caller,
                through=ahead.noting,
            )
            query.result.add_done_callback(lambda done: done.cancelled() or done.exception())
            return query

        return lambda app, teller: Branches(budget, self._choices, app, engines, teller, make)

    def _next_uses(
        self,
        layout: Layout,
        schedulers: Mapping[str, EngineScheduler],
        symbols: Mapping[str, Any],
        outputs: Outputs | None,
    ) -> NextUses | None:
        """What tells engines when contexts are read; None where none of them asks."""
        engines = {
            name: cast(Expecting, scheduler.engine)
            for name, scheduler in schedulers.items()
            if "next_use" in scheduler.engine.info.capabilities
        }
        held = outputs.waiting if outputs is not None else ()
        waiting = [context for context in held if self._homes.of(context) is not None]
        if not engines and not waiting:
            return None
        return NextUses(engines, layout, symbols, self._homes, waiting)

    def _guesses_at(
        self, schedulers: Mapping[str, EngineScheduler], engines: Mapping[str, EngineSpec]
    ) -> Mapping[str, GuessHistory]:
        return {
            name: self._guesses.setdefault(scheduler, GuessHistory())
            for name, scheduler in schedulers.items()
            if engines[name].kind == "llm"
        }

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Take no new query, and wait for those that run; whether all have ended by then. What
        belongs to a running query goes on. `door.open()` takes queries again."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.door.drain()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop every engine and free what it holds."""
        self._gates.close()
        self._heads.close()
        self._guesses.clear()
        schedulers, self._schedulers = self._schedulers, {}
        await close_all(schedulers)


def _able_of(scheduler: EngineScheduler) -> frozenset[str]:
    return frozenset[str](scheduler.engine.info.capabilities)


async def _result(query: Query, about: Mapping[str, Any], timeout_s: float | None) -> list[Any]:
    """Start the query and wait for what it gives."""
    timer = None
    if timeout_s is not None:
        error = QueryTimeout(f"app {query.app}() did not finish within {timeout_s:g} s")
        timer = asyncio.get_running_loop().call_later(timeout_s, query.fail, error)
    try:
        query.start(about)
        return await asyncio.shield(query.result)
    except asyncio.CancelledError:
        query.fail(QueryCancelled(f"query {query.name} was cancelled"))
        if query.result.done():
            query.result.exception()  # seen: the caller gets the CancelledError instead
        raise
    finally:
        if timer is not None:
            timer.cancel()
