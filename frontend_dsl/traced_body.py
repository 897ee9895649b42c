"""The body of a tl.map, tl.cond or tl.loop: a graph of its own, whose outer values it captures."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from frontend_dsl.errors import TraceError
from frontend_dsl.source_check import check_source
from frontend_dsl.source_rules import Kind
from frontend_dsl.tracer import Tracer
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Graph


@dataclass(frozen=True, slots=True)
class TracedBody:
    """A body that is traced, before its captures are settled."""

    tracer: Tracer
    results: list[Value]

    def graph(self, captured: Sequence[Value] | None = None) -> Graph:
        """The body as a graph; bodies of one node must agree on what is captured."""
        return self.tracer.graph("body", self.results, captured)


def trace_body(
    outer: Tracer, function: Callable[..., Any], types: Sequence[Any], num_results: int = 1
) -> TracedBody:
    """The body that a function of so many symbolic arguments makes."""
    body = Tracer(outer.symbols, outer=outer)
    names = _parameter_names(function)
    params = [
        body.param(names[i] if i < len(names) else "item", type_) for i, type_ in enumerate(types)
    ]
    check_source(function, dict.fromkeys(names[: len(params)], Kind.VALUE))
    with body.active():
        returned = function(*params)
        body.late_calls.finish()
        results = returned if num_results > 1 else (returned,)
        if not isinstance(results, tuple) or len(results) != num_results:
            problem = f"this function must return {num_results} values, not {returned!r}"
            raise TraceError(problem, *user_frame())
        return TracedBody(body, [body.own(body.lift(result)) for result in results])


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return []
