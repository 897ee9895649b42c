"""Runs the queries of all apps of this process over one set of engines."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

from backends.base import Engine, Usage
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.registry import EngineSpec, create
from runtime.ahead import Ahead
from runtime.branch_history import BranchHistory
from runtime.branches import Branches
from runtime.caller import ANYBODY, Caller
from runtime.cost.latency import EngineLatency
from runtime.door import MAX_QUERIES, Door
from runtime.engine_scheduler import EngineScheduler
from runtime.errors import QueryCancelled, QueryTimeout
from runtime.events import Listener
from runtime.graph_scheduler import Query
from runtime.guess_budget import GuessBudget, Spendings
from runtime.job import Scheduler
from runtime.layout import Layout
from runtime.memo.memos import Memos
from runtime.metered import MeteredScheduler
from runtime.next_uses import Homes, next_uses_of
from runtime.outputs import Outputs
from runtime.pinned_heads import PinnedHeads
from runtime.prefix_orders import Order, PrefixOrders
from runtime.recorded import Record, RecordedScheduler
from runtime.run_ahead import RunAhead
from runtime.run_store.gate import StoringScheduler
from runtime.run_store.stored_run import RunPart
from runtime.shared_engines import SharedEngines
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
        self._policies = PolicyChoices(policy)
        self._engines = SharedEngines(policy, latency_of, make, on_aborted)
        self._names = count(1)
        self._heads = PinnedHeads()
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
                name: self._engines.gates.gate(scheduler, engines[name], memo, salt)
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
            guesses = self._engines.guesses(schedulers, engines)
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
                next_uses_of(
                    layout,
                    {each: scheduler.engine for each, scheduler in schedulers.items()},
                    symbols,
                    self._homes,
                    outputs.waiting if outputs is not None else (),
                ),
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
        scheduler = self._engines.schedulers.get(spec.key)
        if scheduler is None or (spec.kind == "llm" and "pin" not in _able_of(scheduler)):
            return None
        return self._engines.gates.gate(scheduler, spec, memo, salt)

    def scheduler(self, name: str, spec: EngineSpec) -> EngineScheduler:
        """The scheduler of the engine that serves `spec`, made when first asked for."""
        return self._engines.scheduler(name, spec)

    def crowded(self, engines: Callable[[], Iterable[EngineSpec]]) -> Iterator[EngineScheduler]:
        """Those of the engines at which too much waits for a new query. It asks which are meant
        only where there is one. Any thread may ask."""
        made = [*self._engines.schedulers.items()]
        full = {key: each for key, each in made if each.num_waiting >= each.max_waiting}
        keys = {spec.key for spec in engines()} if full else set()
        yield from (each for key, each in full.items() if key in keys)

    @property
    def memos(self) -> Memos:
        """What queries remember for each other."""
        return self._engines.gates.memos

    @property
    def engines(self) -> list[tuple[str, Engine]]:
        """Those that were made, with their URLs. Any thread may ask."""
        return self._engines.listed()

    async def load(self, engines: Mapping[str, EngineSpec]) -> dict[str, Exception]:
        """Load engines before they are needed; what kept some of them from it, by their names.

        Raises ConfigError for one that cannot be made.
        """
        return await self._engines.load(engines)

    async def forget(self, keys: Iterable[str]) -> None:
        """Close the engines of these spec keys, which nobody will ask for again."""
        await self._engines.forget(keys)

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
        self._heads.close()
        await self._engines.close()


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
