"""What a part of an app gives when something in it fails: attempt, first; and limits of time."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, cast, overload

from frontend_dsl.control import all_captures
from frontend_dsl.declared_types import union_of
from frontend_dsl.errors import TraceError
from frontend_dsl.traced_body import TracedBody, trace_body
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Json, Node
from graph_opt.ops import has_effects

R = TypeVar("R")
S = TypeVar("S")


class Model(Protocol):
    """A pydantic model."""

    def model_dump_json(self) -> str: ...


class Record(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


# what type checkers can tell from a function
Plain: TypeAlias = (
    "str | bytes | float | Sequence[Any] | Mapping[Any, Any] | Set[Any] | Model | Record | None"
)
V = TypeVar("V", bound=Plain)


@overload
def attempt(function: Callable[[], R], otherwise: Callable[[Exception], S]) -> R | S: ...
@overload
def attempt(function: Callable[[], R], otherwise: Callable[[], S]) -> R | S: ...
@overload
def attempt(function: Callable[[], R], otherwise: V) -> R | V: ...


def attempt(function: Callable[[], Any], otherwise: Any) -> Any:
    """`function()`; if anything in it fails, `otherwise` instead.

    `otherwise` is a value, or a function of the exception (in a prompt it reads as its message) or
    of nothing. What a tool raised is the exception; else it is a teola error. Effects of `function`
    that stand before the failure have happened. What fails outside of `function`, though it is used
    in it, is no failure of it. A failure of `otherwise` is one of the app.
    """
    tracer = tracing("tl.attempt")
    if not callable(function) or isinstance(function, Value):
        problem = f"tl.attempt needs a function first, like `lambda: fetch(url)`; got {function!r}"
        raise TraceError(problem, *user_frame())
    with tracer.call("attempt"):
        tried = trace_body(tracer, lambda error: function(), [Exception])  # noqa: ARG005
        fallback = trace_body(tracer, _fallback(otherwise), [Exception])
        return emit_bodies(tracer, "attempt", [tried, fallback])


def first(*alternatives: Callable[[], R]) -> R:
    """A race: all functions run side by side; the value of the first that succeeds.

    The others are stopped. Which one wins may depend on timing, in plain runs too. When all fail,
    the error is that of the first of them. Raises TraceError for an alternative with effects, which
    might be stopped halfway.
    """
    tracer = tracing("tl.first")
    if not alternatives or not all(map(callable, alternatives)):
        problem = "tl.first needs functions, like `lambda: ask_small(q), lambda: ask_large(q)`"
        raise TraceError(problem, *user_frame())
    with tracer.call("first"):
        bodies = [trace_body(tracer, function, []) for function in alternatives]
        for body in bodies:
            _check_no_effects(body.tracer.nodes)
        return cast(R, emit_bodies(tracer, "first", bodies))


def limited(app: str, timeout_s: float, function: Callable[[], Any]) -> Any:
    """What the function returns, as one value; fails when it takes longer, by the app's name."""
    tracer = tracing(f"app {app}()")
    body = trace_body(tracer, function, [])
    return emit_bodies(tracer, "within", [body], {"app": app, "timeout_s": timeout_s})


def emit_bodies(
    tracer: Tracer,
    op: str,
    bodies: Sequence[TracedBody],
    attrs: Mapping[str, Json] | None = None,
    hint: str | None = None,
) -> Value:
    """A node with these bodies, of one of the ops of this module."""
    captured = all_captures(bodies)
    graphs = tuple(body.graph(captured) for body in bodies)
    type_ = union_of([body.results[0]._type for body in bodies])
    return tracer.emit(op, (None, *captured), attrs or {}, hint or op, type_, bodies=graphs)


def _fallback(otherwise: Any) -> Callable[[Any], Any]:
    if isinstance(otherwise, Value) or not callable(otherwise):
        return lambda error: otherwise  # noqa: ARG005
    if _takes_nothing(otherwise):
        return lambda error: otherwise()  # noqa: ARG005
    return lambda error: otherwise(error)


def _takes_nothing(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return not any(p.kind in (*kinds, inspect.Parameter.VAR_POSITIONAL) for p in parameters)


def _check_no_effects(nodes: Iterable[Node]) -> None:
    for node in nodes:
        for body in node.bodies:
            _check_no_effects(body.nodes)
        if not node.bodies and has_effects(node):
            what = node.origin.call if node.origin else node.op
            problem = (
                f"{what}() in tl.first may change something outside, and the race might stop it "
                "halfway: call it on the winner, or say @tl.tool(pure=True) or reads=True"
            )
            file, line = (node.origin.file, node.origin.line) if node.origin else user_frame()
            raise TraceError(problem, file, line)
