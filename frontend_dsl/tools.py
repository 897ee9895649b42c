"""Python functions as primitives."""

import copy
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cached_property, partial, update_wrapper
from inspect import Signature, isasyncgenfunction, isgeneratorfunction, signature, unwrap
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from frontend_dsl.callables import name_of, result_type, takes_receiver
from frontend_dsl.components import PYTHON
from frontend_dsl.errors import DefinitionError, TraceError
from frontend_dsl.late_calls import known, late_in
from frontend_dsl.semantic_variable import when_there
from frontend_dsl.tracer import current, tracing
from frontend_dsl.type_hints import note_names
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
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
        approval: bool = False,
    ) -> None:
        update_wrapper(self, function, updated=())
        note_names(unwrap(function))
        self._function = function
        self._receiver: tuple[Any, ...] = ()  # the object of a bound method
        self.pure = pure or reads
        self.reads = reads
        self.approval = approval
        self._tries = _tries(retries, timeout_s)
        self._effects: dict[str, Json] = {}  # says that it has some, though no order is kept
        self.name = name or name_of(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracer = current()
        given: tuple[Any, ...] = (*self._receiver, *args)
        if tracer is None:
            named = {name: known(value) for name, value in kwargs.items()}
            return cast(Callable[..., R], self._function)(*map(known, given), **named)
        self._check(given, kwargs)
        late = [*late_in([given, kwargs])]
        if late:  # semantic variables that no call has filled yet
            emit = partial(self._emit, given, kwargs)
            return cast(R, when_there(self.name, late, self._result_type, emit))
        return cast(R, self._emit(given, kwargs))

    def _emit(self, given: Sequence[Any], kwargs: Mapping[str, Any]) -> Value:
        tracer = tracing(self.name)
        names: list[Json] = list(kwargs)
        attrs: dict[str, Json] = {
            "fn": tracer.symbols.value(self.name, self._function),
            **self._tries,
            **self._effects,
        }
        if names:
            attrs["kwargs"] = names
        if self.pure:
            attrs["pure"] = True
        if self.reads:
            attrs["reads"] = True
        with tracer.call(self.name):
            attrs["engine"] = tracer.symbols.engine(PYTHON)
            values = (*given, *kwargs.values())
            return tracer.emit("call", values, attrs, self.name, self._result_type)

    def __repr__(self) -> str:
        return f"<tool {self.name}>"

    def __get__(self, instance: Any, owner: type | None = None) -> "Tool[..., R]":
        """Of a method: the tool of one object, which is its first argument."""
        if instance is None or not takes_receiver(self._function):
            return self
        bound: Tool[..., R] = copy.copy(self)
        bound._receiver = (instance,)
        return bound

    @property
    def function(self) -> Callable[..., Any]:
        """What it calls; of a method the plain function."""
        return self._function

    @property
    def is_bound(self) -> bool:
        """Whether it is the method of an object, which is its first argument."""
        return bool(self._receiver)

    def beside(self) -> "Tool[P, R]":
        """The same without an order among the calls of one turn of an agent, who keeps it."""
        changed = copy.copy(self)
        changed.pure = changed.reads = True
        changed._effects = {"effects": True}
        return changed

    def _check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TraceError for arguments that the function does not take."""
        if self._signature is None:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            problem = f"the tool {self.name}{self._signature} cannot be called so: {error}"
            raise TraceError(problem, *user_frame()) from None

    @cached_property
    def _signature(self) -> Signature | None:
        try:
            return signature(self._function)
        except ValueError:  # some built-in functions have none
            return None

    @cached_property
    def _result_type(self) -> Any:
        return result_type(self._function)


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
    approval: bool = False,
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
    approval: bool = False,
) -> Any:
    """Make a Python function a primitive, run in a thread (or awaited, if it is `async`).

    A tool may touch the world, so tools keep the program's order and are never dropped. Say
    `pure=True` for one that only computes: it may then start early, be merged or be remembered. Say
    `reads=True` for one that only reads the world (files, a clock): it keeps its place among the
    tools that may change it. A method is a tool of its object, which is its first argument.

    With `retries` it is called again, so many times at most, when it raises or takes too long,
    after a wait that doubles; a tool with effects says with it that a second call does no harm.
    After `timeout_s` a try fails (errors.ToolTimeout): an `async` tool is cancelled, a plain one
    cannot be, so its thread runs to its end and what it returns is dropped.

    With `approval=True` an agent calls it only when the approver of the run agrees (see
    `tl.approve`); what the app itself calls needs no approval.
    """
    options: dict[str, Any] = {"pure": pure, "reads": reads, "name": name, "approval": approval}
    options |= {"retries": retries, "timeout_s": timeout_s}
    if function is not None:
        return Tool(_checked(function), **options)
    return lambda given: Tool(_checked(given), **options)


def _checked(function: Any) -> Callable[..., Any]:
    """Raises DefinitionError for what cannot be called, or gives its result bit by bit."""
    if isinstance(function, staticmethod):
        return _checked(function.__func__)
    if isinstance(function, classmethod):
        problem = "@tl.tool stands above @classmethod; write @classmethod above @tl.tool"
        raise DefinitionError(problem, *user_frame())
    if not callable(function):
        raise DefinitionError(f"{function!r} is no tool: it cannot be called", *user_frame())
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        problem = f"the tool {name_of(function)}() has `yield`; a tool returns its whole result"
        raise DefinitionError(problem, *user_frame())
    return cast(Callable[..., Any], function)


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
