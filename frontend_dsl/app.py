"""Apps: a decorated function that is traced once for each set of static arguments.

An app knows how to become a graph; running it is the runner's work, which it is given.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from backends.registry import EngineSpec
from frontend_dsl.errors import TraceError
from frontend_dsl.signature import BoundArguments, app_parameters, bind
from frontend_dsl.tracer import Symbols, Tracer, current
from frontend_dsl.where import short_path
from graph_opt.graph import Graph

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Program:
    """A traced app: the plain graph, and what its names stand for."""

    graph: Graph
    engines: Mapping[str, EngineSpec]
    symbols: Mapping[str, Any]  # functions and types
    returns: Any  # the declared type of the result


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run an app."""

    optimize: bool = True
    timeout_s: float | None = None
    engines: Mapping[str, str] = field(default_factory=dict)  # engine name -> URL instead
    listener: Callable[[Any], None] | None = None  # gets every runtime.events.Event
    trace: str | None = None  # path of the trace file to write


class Runner(Protocol):
    """Runs programs. The sync and async doors lead to the same engines."""

    def run(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any: ...

    async def arun(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Any: ...

    def stream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Iterator[Any]: ...

    def batch(
        self,
        calls: Sequence[tuple[Program, Mapping[str, Any]]],
        options: RunOptions,
    ) -> list[Any]: ...

    def plan(self, program: Program, options: RunOptions) -> Any: ...


class App(Generic[P, R]):
    """An LLM application: call, `.arun`, `.stream` or `.batch` it; `.graph` and `.plan` show it."""

    def __init__(
        self, function: Callable[P, R], runner: Callable[[], Runner], options: RunOptions
    ) -> None:
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"app {function.__name__}() must be a plain `def`, not `async def`")
        self.name = function.__name__
        self.options = options
        self._function = function
        self._runner = runner
        self._programs: dict[str, Program] = {}
        self.parameters = app_parameters(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and wait. Works in a notebook too: the engines' event loop has its own thread."""
        if current() is not None:  # an app inside an app is part of it
            return self._inline(*args, **kwargs)
        program, inputs = self._prepare(args, kwargs)
        return cast(R, self._runner().run(program, inputs, self.options))

    async def arun(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and await; cancelling the task cancels the query down to its engines."""
        program, inputs = self._prepare(args, kwargs)
        return cast(R, await self._runner().arun(program, inputs, self.options))

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        """Events as they happen (`kind="text"` with `final` for the answer's own tokens).

        The last event is `done`; an error is raised. Leaving the loop early cancels the query.
        """
        program, inputs = self._prepare(args, kwargs)
        return self._runner().stream(program, inputs, self.options)

    def batch(self, calls: Sequence[Mapping[str, Any]]) -> list[R | Exception]:
        """Run many at once, sharing engines and batches; a failed one leaves its exception."""
        prepared = [self._prepare((), dict(call)) for call in calls]
        return cast(list[R | Exception], self._runner().batch(prepared, self.options))

    def using(self, **changes: Any) -> "App[P, R]":
        """The same app with other options: `using(optimize=False, timeout_s=30)`."""
        app = App(self._function, self._runner, replace(self.options, **changes))
        app._programs = self._programs
        return app

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """The plain graph, as traced. Arguments that do not specialise it may be left out."""
        return self._program_for(args, kwargs).graph

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """What the optimizer makes of the graph, pass by pass."""
        return self._runner().plan(self._program_for(args, kwargs), self.options)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The plan as text."""
        return str(self.plan(*args, **kwargs))

    def _prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Program, Mapping[str, Any]]:
        bound = bind(self.name, self.parameters, args, kwargs)
        return self._program(bound), bound.symbolic

    def _program_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program when symbolic arguments may be missing: any value stands for them."""
        names = [parameter.name for parameter in self.parameters[: len(args)]]
        given = {**dict(zip(names, args, strict=True)), **kwargs}
        dynamic = {p.name for p in self.parameters if not p.is_static and p.name not in given}
        rest = tuple(p for p in self.parameters if p.name not in dynamic)
        bound = bind(self.name, rest, (), given)
        symbolic = {**bound.symbolic, **dict.fromkeys(dynamic)}
        return self._program(BoundArguments(bound.static, symbolic))

    def _program(self, bound: BoundArguments) -> Program:
        key = repr(sorted(bound.static.items(), key=lambda item: item[0]))
        if key not in self._programs:
            self._programs[key] = self._trace(bound)
        return self._programs[key]

    def _trace(self, bound: BoundArguments) -> Program:
        symbols = Symbols(self._variables())
        tracer = Tracer(symbols, place=self._place())
        arguments: dict[str, Any] = dict(bound.static)
        for parameter in self.parameters:
            if parameter.name in bound.symbolic:
                arguments[parameter.name] = tracer.param(parameter.name, parameter.type)
        with tracer.active():
            result = self._function(**arguments)  # type: ignore[call-arg]
            if result is None:
                raise TraceError(f"app {self.name}() returned nothing", *self._place())
            output = tracer.lift(result)
        graph = tracer.graph(self.name, [output])
        return Program(graph, symbols.engines, symbols.values, output._type)

    def _inline(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracer = current()
        assert tracer is not None, "an app is inlined only while another one is traced"
        with tracer.call(self.name), tracer.inside():
            return self._function(*args, **kwargs)

    def _variables(self) -> Mapping[str, Any]:
        module = sys.modules.get(self._function.__module__)
        return self._function.__globals__ if module is None else vars(module)

    def _place(self) -> tuple[str, int]:
        code = self._function.__code__
        return short_path(code.co_filename), code.co_firstlineno


def make_app(
    runner: Callable[[], Runner], function: Callable[P, R] | None, **options: Any
) -> "App[P, R] | Callable[[Callable[P, R]], App[P, R]]":
    """What `@tl.app` does, with the runner that runs its apps."""
    chosen = RunOptions(**options)
    if function is not None:
        return App(function, runner, chosen)
    return lambda f: App(f, runner, chosen)
