"""Apps: a decorated function that is traced once for each set of static arguments.

An app knows how to become a graph; running it is the runner's work, which it is given.
"""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast

from frontend_dsl.bounded import BoundedCache
from frontend_dsl.breaks import AsyncRun, run_of_async_app
from frontend_dsl.errors import SymbolicError, TraceError
from frontend_dsl.program import Program, Runner, RunOptions, Segments
from frontend_dsl.signature import ArgumentError, BoundArguments, app_parameters, bind
from frontend_dsl.symbols import Symbols
from frontend_dsl.tracer import Tracer, current
from frontend_dsl.value import is_symbolic
from frontend_dsl.where import place_of, short_path
from graph_opt.errors import GraphError
from graph_opt.graph import Graph

P = ParamSpec("P")
R = TypeVar("R")


class App(Generic[P, R]):
    """An LLM application: call, `.arun`, `.stream` or `.batch` it; `.graph` and `.plan` show it."""

    def __init__(
        self, function: Callable[P, R], runner: Callable[[], Runner], options: RunOptions
    ) -> None:
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = function.__name__
        self.options = options
        self._function = function
        self._runner = runner
        self._programs: dict[str, Program] = {}
        self._segments: BoundedCache[str, Program] = BoundedCache(64)
        self._symbols = Symbols(self._variables()) if self.is_async else None
        self.parameters = app_parameters(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and wait. Works in a notebook too: the engines' event loop has its own thread."""
        if current() is not None:  # an app inside an app is part of it
            return (
                self._await_inside(args, kwargs) if self.is_async else self._inline(*args, **kwargs)
            )
        if self.is_async:
            return cast(R, self._runner().drive(self._run_session(args, kwargs, self.options)))
        program, inputs = self._prepare(args, kwargs)
        return cast(R, self._runner().run(program, inputs, self.options))

    async def arun(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and await; cancelling the task cancels the query down to its engines."""
        if self.is_async:
            return cast(R, await self._run_session(args, kwargs, self.options))
        program, inputs = self._prepare(args, kwargs)
        return cast(R, await self._runner().arun(program, inputs, self.options))

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        """Events as they happen (`kind="text"` with `final` for the answer's own tokens).

        The last event is `done`; an error is raised. Leaving the loop early cancels the query.
        """
        if self.is_async:
            return self._runner().stream_of(
                lambda listen: self._run_session(
                    args, kwargs, replace(self.options, listener=listen)
                )
            )
        program, inputs = self._prepare(args, kwargs)
        return self._runner().stream(program, inputs, self.options)

    def batch(self, calls: Sequence[Mapping[str, Any]]) -> list[R | Exception]:
        """Run many at once, sharing engines and batches; a failed one leaves its exception."""
        if self.is_async:
            return cast(list[R | Exception], self._runner().drive(self._run_sessions(calls)))
        results: list[Any] = [self._try_prepare(call) for call in calls]
        good = [i for i, found in enumerate(results) if not isinstance(found, Exception)]
        finished = self._runner().batch([results[i] for i in good], self.options)
        for i, result in zip(good, finished, strict=True):
            results[i] = result
        return results

    def using(self, **changes: Any) -> "App[P, R]":
        """The same app with other options: `using(optimize=False, timeout_s=30)`.

        The options are those of `RunOptions`: optimize, passes, timeout_s, objective, engines,
        listener, trace.
        """
        known = [field.name for field in fields(RunOptions)]
        for name in changes:
            if name not in known:
                raise TypeError(f"an app has no option {name!r}; it has {', '.join(known)}")
        app = App(self._function, self._runner, replace(self.options, **changes))
        app._programs = self._programs
        app._segments, app._symbols = self._segments, self._symbols
        return app

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The plain graph, as traced. Arguments that do not specialise it may be left out.

        Raises TraceError for an `async def` app, whose graphs come to be while it runs.
        """
        return self._program_for(args, kwargs).graph

    def plan(self, *args: Any, **kwargs: Any) -> Any:
        """What the optimizer makes of the graph, pass by pass."""
        return self._runner().plan(self._program_for(args, kwargs), self.options)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """The plan as text."""
        return str(self.plan(*args, **kwargs))

    def _try_prepare(self, call: Mapping[str, Any]) -> Any:
        try:
            return self._prepare((), dict(call))
        except ArgumentError as error:  # the outcome of this call alone
            return error

    def _prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Program, Mapping[str, Any]]:
        bound = bind(self.name, self.parameters, args, kwargs)
        return self._program(bound), bound.symbolic

    async def _run_session(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: RunOptions
    ) -> Any:
        bound = bind(self.name, self.parameters, args, kwargs)
        arguments = {**bound.static, **bound.symbolic}

        async def body(segments: Segments) -> Any:
            assert self._symbols is not None, "made for every async app"
            run = AsyncRun(self.name, self._symbols, self._segments, self._place(), segments)
            return await run.run(cast(Any, self._function), arguments)

        return await self._runner().run_segments(self.name, body, options)

    async def _run_sessions(self, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
        runs = (self._run_session((), dict(call), self.options) for call in calls)
        return await asyncio.gather(*runs, return_exceptions=True)

    def _program_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program when symbolic arguments may be missing: any value stands for them."""
        if self.is_async:
            problem = (
                f"app {self.name}() is `async def`: its graphs come to be while it runs; "
                "run it with trace= and look at the trace"
            )
            raise TraceError(problem, *self._place())
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
            result = self._trace_function(arguments)
            if result is None:
                raise TraceError(f"app {self.name}() returned nothing", *self._place())
            output = tracer.lift(result)
        graph = tracer.graph(self.name, [output])
        return Program(graph, symbols.engines, symbols.values, output._type)

    def _trace_function(self, arguments: Mapping[str, Any]) -> Any:
        try:
            return self._function(**arguments)  # type: ignore[call-arg]
        except (TypeError, ValueError) as error:
            if isinstance(error, GraphError) or "Value" not in str(error):
                raise
            problem = f"a value of the run was used as if it were known: {error}; use a tl.tool"
            raise SymbolicError(problem, *place_of(error)) from error

    def _inline(self, *args: P.args, **kwargs: P.kwargs) -> R:
        tracer = current()
        assert tracer is not None, "an app is inlined only while another one is traced"
        with tracer.call(self.name), tracer.inside():
            return self._function(*args, **kwargs)

    def _await_inside(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """What an `async def` app awaits when it calls this one. Real arguments are checked."""
        run = run_of_async_app(f"app {self.name}()")
        names = [parameter.name for parameter in self.parameters[: len(args)]]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        values = {name: value for name, value in given.items() if is_symbolic(value)}
        rest = tuple(p for p in self.parameters if p.name not in values)
        real = {name: value for name, value in given.items() if name not in values}
        bound = bind(self.name, rest, (), real)
        arguments = {**bound.static, **bound.symbolic, **values}
        function = cast(Callable[..., Awaitable[Any]], self._function)
        return cast(R, run.inline(self.name, function, arguments, self.options.timeout_s))

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
