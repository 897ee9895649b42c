"""Python functions as primitives."""

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

from frontend_dsl.components import PYTHON
from frontend_dsl.tracer import current
from graph_opt.graph import Json

P = ParamSpec("P")
R = TypeVar("R")


class Tool(Generic[P, R]):
    """A Python function that an app may call. Outside of an app it is the function itself."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        pure: bool = False,
        reads: bool = False,
        name: str | None = None,
        retries: int = 0,
        timeout_s: float | None = None,
    ) -> None:
        update_wrapper(self, function)
        self._function = function
        self.pure = pure or reads
        self.reads = reads
        self._tries = _tries(retries, timeout_s)
        self.name = name or str(getattr(function, "__name__", "tool"))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracer = current()
        if tracer is None:
            return self._function(*args, **kwargs)
        names: list[Json] = list(kwargs)
        attrs: dict[str, Json] = {
            "fn": tracer.symbols.value(self.name, self._function),
            **self._tries,
        }
        if names:
            attrs["kwargs"] = names
        if self.pure:
            attrs["pure"] = True
        if self.reads:
            attrs["reads"] = True
        with tracer.call(self.name):
            attrs["engine"] = tracer.symbols.engine(PYTHON)
            values = (*args, *kwargs.values())
            return cast(R, tracer.emit("call", values, attrs, self.name, self._result_type()))

    def _result_type(self) -> Any:
        return get_type_hints(self._function).get("return", Any)


@overload
def tool(function: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    pure: bool = False,
    reads: bool = False,
    name: str | None = None,
    retries: int = 0,
    timeout_s: float | None = None,
) -> "ToolMaker": ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    pure: bool = False,
    reads: bool = False,
    name: str | None = None,
    retries: int = 0,
    timeout_s: float | None = None,
) -> Any:
    """Make a Python function a primitive, run in a thread (or awaited, if it is `async`).

    A tool may touch the world, so tools keep the program's order and are never dropped. Say
    `pure=True` for one that only computes: it may then start early, be merged or be skipped. Say
    `reads=True` for one that only reads the world (files, a clock): it keeps its place among the
    tools that may change it.

    With `retries` it is called again, so many times at most, when it raises or takes too long,
    after a wait that doubles; a tool with effects says with it that a second call does no harm.
    After `timeout_s` a try fails (errors.ToolTimeout): an `async` tool is cancelled, a plain one
    cannot be, so its thread runs to its end and what it returns is dropped.
    """
    options: dict[str, Any] = {"pure": pure, "reads": reads, "name": name}
    options |= {"retries": retries, "timeout_s": timeout_s}
    return Tool(function, **options) if function is not None else lambda f: Tool(f, **options)


def _tries(retries: int, timeout_s: float | None) -> dict[str, Json]:
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries= of @tl.tool must be a whole number, 0 or more; got {retries!r}")
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise ValueError(f"timeout_s= of @tl.tool must be seconds, above 0; got {timeout_s!r}")
    attrs: dict[str, Json] = {"retries": retries} if retries else {}
    return attrs if timeout_s is None else {**attrs, "timeout_s": timeout_s}


class ToolMaker(Protocol):
    """The decorator that `tool(...)` gives."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Tool[P, R]: ...
