"""Parts of an app whose size or path is known only when it runs: map, cond, loop."""

from collections.abc import Callable, Iterable, Sequence
from types import GenericAlias
from typing import Any, Literal, TypeAlias, TypeVar, cast, overload

from frontend_dsl.declared_types import item_of, union_of
from frontend_dsl.errors import TraceError
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.pairs import zipped
from frontend_dsl.traced_body import TracedBody, trace_body
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Json
from graph_opt.ops import MAP_ON_ERROR

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")

Less: TypeAlias = Literal["raise", "skip"]  # on_error= of a map that gives no exceptions


@overload
def map_(
    function: Callable[[T], R], items: Iterable[T], *, on_error: Literal["keep"]
) -> list[R | Exception]: ...
@overload
def map_(
    function: Callable[..., R],
    first: Iterable[Any],
    second: Iterable[Any],
    /,
    *more: Iterable[Any],
    on_error: Literal["keep"],
) -> list[R | Exception]: ...
@overload
def map_(
    function: Callable[[T], R], items: Iterable[T], *, on_error: Less = "raise"
) -> list[R]: ...
@overload
def map_(
    function: Callable[[A, B], R],
    first: Iterable[A],
    second: Iterable[B],
    /,
    *,
    on_error: Less = "raise",
) -> list[R]: ...
@overload
def map_(
    function: Callable[[A, B, C], R],
    first: Iterable[A],
    second: Iterable[B],
    third: Iterable[C],
    /,
    *,
    on_error: Less = "raise",
) -> list[R]: ...
@overload
def map_(  # of more lists than that: one form must fit a call, or a lambda's result is unknown
    function: Callable[..., R],
    first: Iterable[Any],
    second: Iterable[Any],
    third: Iterable[Any],
    fourth: Iterable[Any],
    /,
    *more: Iterable[Any],
    on_error: Less = "raise",
) -> list[R]: ...


def map_(
    function: Callable[..., Any],
    items: Iterable[Any],
    *more: Iterable[Any],
    on_error: Literal["raise", "skip", "keep"] = "raise",
) -> Any:
    """`[function(item) for item in items]`; the items' work runs side by side.

    With several lists the function gets an item of each, as often as the shortest has one. An item
    that fails is a failure of the app; with `on_error="skip"` it is left out, with "keep" its
    exception stands in its place, and effects of the other items go on.
    """
    tracer = tracing("tl.map")
    if on_error not in MAP_ON_ERROR:
        known = ", ".join(map(repr, MAP_ON_ERROR))
        raise TraceError(f"on_error= of tl.map is {known}, not {on_error!r}", *user_frame())
    _check_function(function)
    name = getattr(function, "__name__", "map")
    with tracer.call("map" if name == "<lambda>" else f"map_{name}"):
        given = zipped(tracer, (items, *more), "tl.map") if more else items
        values = tracer.items(given, "tl.map")
        step = _on_rows(function, len(more) + 1) if more else function
        body = trace_body(tracer, step, [item_of(values._type)])
        graph = body.graph()
        args = (values, *body.tracer.captures())
        attrs: dict[str, Json] = {"order": "sequential"}
        item_type = body.results[0]._type
        if on_error != "raise":
            attrs["on_error"] = on_error
        if on_error == "keep":
            item_type = union_of([item_type, Exception])
        type_ = GenericAlias(list, (item_type,))
        return tracer.emit("map", args, attrs, "map", type_, bodies=(graph,))


def _check_function(function: object) -> None:
    """Raise TraceError where the arguments of tl.map are swapped."""
    if is_symbolic(function) or not callable(function):
        problem = f"tl.map takes the function first: tl.map(function, items); got {function!r}"
        raise TraceError(problem, *user_frame())


def _on_rows(function: Callable[..., R], num_lists: int) -> Callable[[Any], R]:
    return lambda row: function(*(row[i] for i in range(num_lists)))


def cond(condition: Any, then: Callable[[], R], otherwise: Callable[[], R]) -> R:
    """`then()` if the condition holds when the app runs, else `otherwise()`; only one of them runs.

    Both are functions without arguments; the values of the app that they use are captured.
    """
    tracer = tracing("tl.cond")
    if not isinstance(condition, Value):  # known already: an ordinary if
        return then() if condition else otherwise()
    with tracer.call("cond"):
        bodies = [trace_body(tracer, branch, []) for branch in (then, otherwise)]
        captured = all_captures(bodies)
        graphs = tuple(body.graph(captured) for body in bodies)
        type_ = union_of([body.results[0]._type for body in bodies])
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
        body = trace_body(tracer, step, [first._type], num_results=2)
        graph = body.graph()
        args = (first, *body.tracer.captures())
        type_ = union_of([first._type, body.results[0]._type])
        result = tracer.emit("loop", args, {"max": max}, "loop", type_, bodies=(graph,))
    return cast(T, result)


def all_captures(bodies: Sequence[TracedBody]) -> list[Value]:
    """The outer values that any of the bodies reads, each once."""
    captured: dict[str, Value] = {}
    for body in bodies:
        captured.update((value._name, value) for value in body.tracer.captures())
    return list(captured.values())
