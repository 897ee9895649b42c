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
    ) -> None:
        update_wrapper(self, function)
        self._function = function
        self.pure = pure or reads
        self.reads = reads
        self.name = name or str(getattr(function, "__name__", "tool"))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracer = current()
        if tracer is None:
            return self._function(*args, **kwargs)
        names: list[Json] = list(kwargs)
        attrs: dict[str, Json] = {"fn": tracer.symbols.value(self.name, self._function)}
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
def tool(*, pure: bool = False, reads: bool = False, name: str | None = None) -> "ToolMaker": ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    pure: bool = False,
    reads: bool = False,
    name: str | None = None,
) -> Any:
    """Make a Python function a primitive, run in a thread (or awaited, if it is `async`).

    A tool may touch the world, so tools keep the program's order and are never dropped. Say
    `pure=True` for one that only computes: it may then start early, be merged or be skipped. Say
    `reads=True` for one that only reads the world (files, a clock): it keeps its place among the
    tools that may change it.
    """
    if function is not None:
        return Tool(function, pure=pure, reads=reads, name=name)
    return lambda f: Tool(f, pure=pure, reads=reads, name=name)


class ToolMaker(Protocol):
    """The decorator that `tool(...)` gives."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Tool[P, R]: ...
