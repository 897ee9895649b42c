"""`@tl.app`: the front end's apps, tied to the runtime."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from frontend_dsl.app import App, make_app
from frontend_dsl.outside import set_runner
from frontend_dsl.program import Runner
from graph_opt.objective import Kind

P = ParamSpec("P")
R = TypeVar("R")


@overload
def app(function: Callable[P, Coroutine[Any, Any, R]], /) -> App[P, R]: ...
@overload
def app(function: Callable[P, R], /) -> App[P, R]: ...
@overload
def app(
    *,
    optimize: bool = True,
    timeout_s: float | None = None,
    objective: Kind = "latency",
    engines: Mapping[str, str] | None = None,
    fusion: str | None = None,
    prefill_ahead: bool | None = None,
) -> "AppMaker": ...


def app(
    function: Callable[P, R] | None = None,
    /,
    *,
    optimize: bool = True,
    timeout_s: float | None = None,
    objective: Kind = "latency",
    engines: Mapping[str, str] | None = None,
    fusion: str | None = None,
    prefill_ahead: bool | None = None,
) -> Any:
    """Make a typed function an LLM app: traced once, compiled to a graph of primitives.

    Arguments of type int, float, bool, enum or Literal specialise the graph; all others are known
    only when the app runs. `optimize=False` runs the plain graph, one call after another.
    With `objective="throughput"` its work comes after all that somebody waits for, in full batches.
    `engines` replaces engines by name with other URLs. `fusion` is how prompts read the KV of
    joined items, where their model does not say: see `LLM`. With `prefill_ahead=True` prompts are
    computed in the order of a search while a reranker orders its documents: docs/fusion.md.
    """
    options: dict[str, Any] = {
        "optimize": optimize,
        "timeout_s": timeout_s,
        "objective": objective,
        "engines": dict(engines or {}),
        "fusion": fusion,
        "prefill_ahead": prefill_ahead,
    }
    return make_app(_runner, function, **options)


class AppMaker(Protocol):
    """The decorator that `app(...)` gives."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> App[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> App[P, R]: ...


def _runner() -> Runner:
    from teola.runner import default_runner  # late: asyncio and pydantic are not needed to define

    return default_runner()


set_runner(_runner)
