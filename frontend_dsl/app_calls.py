"""What a call of an app becomes: a program with its inputs, a session, or a part of another app."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from frontend_dsl.app_function import AppFunction
from frontend_dsl.app_session import AppSession, listened
from frontend_dsl.bounded import BoundedCache
from frontend_dsl.breaks import Shape
from frontend_dsl.callables import result_type
from frontend_dsl.errors import TraceError
from frontend_dsl.inlining import inline
from frontend_dsl.nested import NestedApp, Specs
from frontend_dsl.program import (
    Batch,
    Call,
    Called,
    CallInputs,
    Program,
    RunListened,
    Runner,
    RunOptions,
)
from frontend_dsl.reads import Reads
from frontend_dsl.signature import ArgumentError, bind
from frontend_dsl.traced_programs import MAX_PROGRAMS, TracedPrograms
from graph_opt.graph import Json


class AppCalls:
    """The calls of an app and of its copies by `using`, which share what was traced.

    A `def` app becomes one program for each set of static arguments; a run of an `async def` app
    is a session, inside another app a node of that.
    """

    def _begin(
        self, function: AppFunction, runner: Callable[[], Runner], options: RunOptions
    ) -> None:
        self.options = options
        self._runner = runner
        self._traced = TracedPrograms()
        self._segments: BoundedCache[Shape, Program] = BoundedCache(MAX_PROGRAMS)
        self._set_function(function)

    def _set_function(self, function: AppFunction) -> None:
        self._app_function = function
        self._function = function.call
        self.__name__ = self.name = function.name
        self.is_async = function.is_async
        self.parameters = function.parameters

    @property
    def function(self) -> Callable[..., Any]:
        """What is traced."""
        return self._app_function.call

    @property
    def app_function(self) -> AppFunction:
        """The function behind it, with its place."""
        return self._app_function

    @property
    def access(self) -> Mapping[str, Json]:
        """What an `async def` app inside another is known not to do, as attrs of its call."""
        return {}

    def _received(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[AppFunction, tuple[Any, ...], Mapping[str, Any]]:
        """The function that takes the arguments of a call, and those, as it takes them."""
        function, args = self._app_function.with_receiver_of(args)
        return function, args, kwargs

    # `def` apps: one program for each set of static arguments

    def _calls(
        self, calls: Iterable[Any], concurrency: int | None, progress: bool | None
    ) -> tuple[list[tuple[tuple[Any, ...], Mapping[str, Any]]], Batch]:
        """The arguments of each call of a batch. Raises ArgumentError for what is no batch."""
        if isinstance(calls, (str, Mapping)):
            raise ArgumentError(f"{self.name}.batch() takes a list of calls, not {calls!r}")
        arguments = [_arguments(call) for call in calls]
        return arguments, Batch(self.name, len(arguments), concurrency, progress)

    def _try_prepare(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        try:
            return self._prepare(args, kwargs)
        except ArgumentError as error:  # the outcome of this call alone
            return error

    def _prepare(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Program, Mapping[str, Any]]:
        called = Called(self, args, kwargs)
        function, args, kwargs = self._received(args, kwargs)
        bound = bind(self.name, self.parameters, args, kwargs).lifted()
        return self._traced.of(function, bound), CallInputs(bound.symbolic, called)

    def _program_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
        """The program when symbolic arguments may be missing: any value stands for them."""
        function, args, kwargs = self._received(args, kwargs)
        if self.is_async:
            problem = (
                f"app {self.name}() is `async def`: its graphs come to be while it runs; "
                "run it with trace= and look at the trace"
            )
            raise TraceError(problem, *function.place)
        return self._traced.of(function, function.bound_partly(args, kwargs))

    # `async def` apps: a session

    def _listened(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RunListened:
        return listened(partial(self._run_session, args, kwargs), self.options)

    async def _run_session(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: RunOptions,
        specs: Specs | None = None,
    ) -> Any:
        called = Called(self, args, kwargs)
        function, args, kwargs = self._received(args, kwargs)
        bound = bind(self.name, self.parameters, args, kwargs)
        arguments = CallInputs({**bound.static, **bound.symbolic}, called)
        session = AppSession(function, self._segments, specs)
        return await session.run(self._runner(), arguments, options)

    async def _run_sessions(
        self, calls: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]], how: Batch
    ) -> list[Any]:
        def runs(options: RunOptions) -> Iterator[Coroutine[Any, Any, Any]]:
            return (self._run_session(*call, options) for call in calls)

        return await self._runner().gather(runs, self.options, how)

    def _inline(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        function, args = self._app_function.with_receiver_of(args)
        return inline(function, args, kwargs, self.options, self._nested)

    # `async def` apps inside others, where nothing can be awaited

    def _nested(self) -> NestedApp:
        """Made once, as long as the code reads the same components: a graph names it."""
        found = self.__dict__.get("_nested_app")
        if found is not None and found[0] is self and found[1].are_current():
            return cast(NestedApp, found[2])
        reads = Reads(self._app_function.call)
        components, function = tuple(reads.components.values()), self._app_function
        returns = result_type(function.call)
        nested = NestedApp(
            self.name,
            self._run_nested,
            self.options,
            returns,
            function.variables,
            components,
            self.access,
        )
        self.__dict__["_nested_app"] = (self, reads, nested)
        return nested

    def _run_nested(
        self, arguments: Mapping[str, Any], options: RunOptions, specs: Specs
    ) -> Coroutine[Any, Any, Any]:
        return self._run_session((), arguments, options, specs)


def _arguments(call: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    return ((), call) if isinstance(call, Mapping) else ((call,), {})
