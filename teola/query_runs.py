"""One query: its plan, who hears of it, and what the runtime is told of its options."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backends.base import Request, Result
from backends.policy.named import policy_named
from frontend_dsl.program import Program, RunOptions
from runtime.clock import date
from runtime.events import Listener
from runtime.outputs import Outputs
from runtime.recorded import Record
from runtime.run_ahead import RunAhead
from runtime.service import Runtime
from teola.background import Background
from teola.callers import with_caller
from teola.fakes import with_fakes
from teola.listeners import tell_all
from teola.nested import NestedRuns, said_by_agents
from teola.plans import PlanCache, ReadyPlan
from teola.recorders import Recorders
from teola.stored_runs import RunStores
from teola.telemetry.running import open_spans
from teola.trace_file import open_trace


class QueryRuns:
    """Runs queries on the engines' loop; the `async def` apps inside them on that of the apps."""

    def __init__(
        self,
        runtime: Runtime,
        plans: PlanCache,
        recorders: Recorders,
        run_stores: RunStores,
        apps: Background,
    ) -> None:
        self._runtime = runtime
        self._plans = plans
        self._recorders = recorders
        self._run_stores = run_stores
        self._apps = apps

    async def run(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        options: RunOptions,
        listener: Listener | None = None,
    ) -> Any:
        """The result of a `def` app, which is kept if its options say so."""
        with said_by_agents():
            async with self._run_stores.kept(options, inputs) as kept:
                (result,) = await self.execute(program, inputs, kept, listener)
        return result

    async def execute(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        options: RunOptions,
        listener: Listener | None = None,
        outputs: Outputs | None = None,
        run: str = "",
        ahead: RunAhead | None = None,
    ) -> list[Any]:
        """The values of one graph: of a `def` app, or of a segment, of which `outputs`, `run` and
        `ahead` are those of its session."""
        options = with_caller(with_fakes(options))
        plan = self._plans.ready(program, options)
        returned = plan.layout.graph.outputs
        own = outputs and outputs.renamed(program.graph.outputs, returned)
        with open_trace(options) as writer, open_spans(options.otel, inputs) as spans:
            heard = tell_all(listener, options.listener, writer, spans.listener)
            about = _about(plan, options, run) if heard is not None else {}
            final = returned if own is None else own.final
            options = replace(options, otel=spans)
            nested = NestedRuns(self._apps, options, plan.engines, heard, final)
            try:
                results = await self._runtime.run(
                    plan.layout,
                    inputs,
                    plan.engines,
                    nested.symbols(plan.symbols(program)),
                    about=about,
                    listener=heard,
                    timeout_s=options.timeout_s,
                    memo=options.memo,
                    salt=options.salt,
                    policy=None if options.policy is None else policy_named(options.policy),
                    outputs=own,
                    record=_both(
                        None if options.record is None else self._recorders.of(options.record),
                        spans.record,
                    ),
                    traceparent=spans.traceparent,
                    stored=options.stored,
                    caller=options.caller,
                    speculate=options.speculate,
                    ahead=ahead,
                )
                spans.result = results[0] if len(results) == 1 else results
                return results
            finally:
                nested.end()


def _about(plan: ReadyPlan, options: RunOptions, run: str) -> dict[str, Any]:
    """What the first event of a query says."""
    began = date().isoformat(timespec="milliseconds")
    more: dict[str, Any] = {"run": run} if run else {}
    if options.is_agent:
        more["agent"] = True
    if options.stored is not None:
        more["stored_as"] = options.stored.run.id
    return {**plan.about, "began": began, **more}


def _both(first: Record | None, second: Record | None) -> Record | None:
    if first is None or second is None:
        return first or second

    def record(request: Request, result: Result) -> None:
        first(request, result)
        second(request, result)

    return record
