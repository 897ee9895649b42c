"""Parts of an app whose size or path is known only when it runs: map, cond, loop."""

from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Any, TypeVar, cast

from frontend_dsl.errors import TraceError
from frontend_dsl.tracer import TracedBody, tracing
from frontend_dsl.value import Value, item_of
from frontend_dsl.where import user_frame

T = TypeVar("T")
R = TypeVar("R")


def map_(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`[function(item) for item in items]`; the items' work runs side by side."""
    tracer = tracing("tl.map")
    name = getattr(function, "__name__", "map")
    with tracer.call("map" if name == "<lambda>" else f"map_{name}"):
        values = tracer.lift(items)
        body = tracer.trace_body(function, [item_of(values._type)])
        graph = body.graph()
        args = (values, *body.tracer.captures())
        attrs = {"order": "sequential"}
        type_ = GenericAlias(list, (body.results[0]._type,))
        result = tracer.emit("map", args, attrs, "map", type_, bodies=(graph,))
    return cast(list[R], result)


def cond(condition: Any, then: Callable[[], R], otherwise: Callable[[], R]) -> R:
    """`then()` if the condition holds when the app runs, else `otherwise()`; only one of them runs.

    Both are functions without arguments; the values of the app that they use are captured.
    """
    tracer = tracing("tl.cond")
    if not isinstance(condition, Value):  # known already: an ordinary if
        return then() if condition else otherwise()
    with tracer.call("cond"):
        bodies = [tracer.trace_body(branch, []) for branch in (then, otherwise)]
        captured = _all_captures(bodies)
        graphs = tuple(body.graph(captured) for body in bodies)
        type_ = bodies[0].results[0]._type
        result = tracer.emit("cond", (condition, *captured), {}, "cond", type_, bodies=graphs)
    return cast(R, result)


def loop(step: Callable[[T], tuple[T, Any]], state: T, *, max: int) -> T:
    """Replace the state by `step(state)` until that says to stop, at most `max` times.

    `step` returns the next state and whether to go on, like
    `lambda draft: (revise(draft), review(draft).again)`.
    """
    tracer = tracing("tl.loop")
    if isinstance(max, bool) or not isinstance(max, int) or max < 1:
        raise TraceError(f"tl.loop needs max >= 1, a bound known now; got {max!r}", *user_frame())
    with tracer.call("loop"):
        first = tracer.lift(state)
        body = tracer.trace_body(step, [first._type], num_results=2)
        graph = body.graph()
        args = (first, *body.tracer.captures())
        result = tracer.emit("loop", args, {"max": max}, "loop", first._type, bodies=(graph,))
    return cast(T, result)


def _all_captures(bodies: Sequence[TracedBody]) -> list[Value]:
    captured: dict[str, Value] = {}
    for body in bodies:
        captured.update((value._name, value) for value in body.tracer.captures())
    return list(captured.values())
