"""Apps: a decorated function that is traced once for each set of static arguments.

An app knows how to become a graph; running it is the runner's work, which it is given.
"""

import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from frontend_dsl.app_calls import AppCalls
from frontend_dsl.app_function import AppFunction
from frontend_dsl.callables import written_function
from frontend_dsl.declared_types import is_optional
from frontend_dsl.encode_ahead import EncodeAhead
from frontend_dsl.program import Runner, RunOptions, StreamEvent, user_options
from frontend_dsl.source_check import check_source
from frontend_dsl.source_rules import Kind
from frontend_dsl.tracer import current
from graph_opt.graph import Graph

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


class App(AppCalls, Generic[P, R]):
    """An LLM application: call, `.arun`, `.stream` or `.batch` it; `.graph` and `.plan` show it.

    A method may be an app: its object is then a constant of the app, like a global. What the code
    reads is looked at in every call: a prompt, tool or global that was assigned anew is seen.
    """

    def __init__(
        self, function: Callable[P, R], runner: Callable[[], Runner], options: RunOptions
    ) -> None:
        update_wrapper(self, function, updated=())
        self._begin(AppFunction.of(function), runner, options)
        check_source(written_function(function), _surely_symbolic(self), is_final=False)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> "App[P, R]": ...
    @overload
    def __get__(
        self: "App[Concatenate[Any, Q], R]", instance: object, owner: Any = None
    ) -> "App[Q, R]": ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Of a method: the app of one object."""
        if instance is None or not self._app_function.is_method:
            return self
        bound = copy.copy(self)
        bound._set_function(self._app_function.bound_to(instance))
        return bound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and wait. Works in a notebook too: the engines' event loop has its own thread.

        Inside another app it is a part of that one, which only checks its arguments and replaces
        its engines; how the query runs is said by the options of the app that was called.
        """
        if current() is not None:
            return cast(R, self._inline(args, kwargs))
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

    def prepared(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> "Callable[[float | None], Awaitable[R]]":
        """Traces and plans now; what runs it, given its time limit. For callers with a loop that
        must not wait for a trace, which may take long: they call this on a thread."""
        if self.is_async:
            return lambda timeout_s: self.using(timeout_s=timeout_s).arun(*args, **kwargs)
        program, inputs = self._prepare(args, kwargs)
        self._runner().prepare(program, self.options)

        async def run(timeout_s: float | None) -> R:
            options = replace(self.options, timeout_s=timeout_s)
            return cast(R, await self._runner().arun(program, inputs, options))

        return run

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[StreamEvent]:
        """Events (`runtime.events.Event`) as they happen, while the calling thread waits.

        A `text` event is `final` if the app returns that very text: not a part of it, and not
        what a map, cond or loop writes. The last event is `done`, with the app's result in
        `fields["result"]`; an error is raised. Leaving the loop early cancels the query.
        """
        if self.is_async:
            return self._runner().stream_session(self.name, self._listened(args, kwargs))
        program, inputs = self._prepare(args, kwargs)
        return self._runner().stream(program, inputs, self.options)

    def astream(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[StreamEvent, None]:
        """The events of `stream`, for `async for` on the caller's own loop, which stays free."""
        if self.is_async:
            return self._runner().astream_session(self.name, self._listened(args, kwargs))
        program, inputs = self._prepare(args, kwargs)
        return self._runner().astream(program, inputs, self.options)

    def batch(
        self,
        calls: Iterable[Mapping[str, Any] | Any],
        *,
        concurrency: int | None = None,
        progress: bool | None = None,
    ) -> list[R | Exception]:
        """Run many at once, sharing engines and batches; a failed one leaves its exception.

        A call is a mapping of arguments, or else the first argument itself. Results keep the
        order of the calls. At most `concurrency` run side by side. `progress` shows a bar on
        stderr, by default if that is a terminal.
        """
        arguments, how = self._calls(calls, concurrency, progress)
        if self.is_async:
            runs = self._run_sessions(arguments, how)
            return cast(list[R | Exception], self._runner().drive(runs))
        prepared = [self._try_prepare(*each) for each in arguments]
        return self._runner().batch(prepared, self.options, how)

    async def abatch(
        self,
        calls: Iterable[Mapping[str, Any] | Any],
        *,
        concurrency: int | None = None,
        progress: bool | None = None,
    ) -> list[R | Exception]:
        """`batch`, awaited; cancelling the task cancels what runs."""
        arguments, how = self._calls(calls, concurrency, progress)
        if self.is_async:
            return await self._run_sessions(arguments, how)
        prepared = [self._try_prepare(*each) for each in arguments]
        return await self._runner().abatch(prepared, self.options, how)

    def using(self, **changes: Any) -> "App[P, R]":
        """The same app with other options: `using(optimize=False, timeout_s=30)`.

        The options are those of `RunOptions`: optimize, passes, timeout_s, objective, engines,
        listener, trace, trace_texts, memo, record, salt, policy, tenant, deadline_s, approve,
        fusion, prefill_ahead, speculate, runs, otel. With `runs` what a run finishes is kept in a
        folder, so that `tl.resume` can go on after a crash. A `policy` ("fcfs", "vtc" ...:
        docs/runtime.md) orders what waits at the app's engines, for all apps, while a query of this
        one runs; ConfigError if one of those asked for another. Fair policies go by the `tenant`
        (the salt, if None). A run that is wanted within `deadline_s` is not stopped after it:
        `least_slack` hurries it.
        `fusion` is that of models which have none (see `LLM`); "exact" switches it off.
        `prefill_ahead` says whether prompts are computed in the order of a search while its
        documents are reranked. With `speculate=0.1` the likely branch of a `tl.cond` begins before
        its condition is known, and in `async def` apps what is likely to follow a model's turn;
        a tenth of what is of use, and one guess, may be wasted (docs/runtime.md).
        """
        known = user_options()
        for name in changes:
            if name not in known:
                raise TypeError(f"an app has no option {name!r}; it has {', '.join(known)}")
        return self.with_options(**changes)

    def with_options(self, **changes: Any) -> "App[P, R]":
        """`using`, for runners, which have options of their own."""
        app = copy.copy(self)
        app.options = replace(self.options, **changes)
        return app

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The plain graph, as traced. Arguments that do not specialise it may be left out.

        Raises TraceError for an `async def` app, whose graphs come to be while it runs.
        """
        return self._program_for(args, kwargs).graph

    def plan(self, *args: Any, **kwargs: Any) -> Any:
        """What the optimizer makes of the graph, pass by pass."""
        return self._runner().plan(self._program_for(args, kwargs), self.options)

    def encode_ahead(self, items: Iterable[Any], **arguments: Any) -> int:
        """Compute the KV of documents before a fused prompt reads them (`tl.join(reuse=)`), at
        indexing time say; how many were not there.

        They lie in the engine's prefix cache, as long as that has room. `arguments` are those that
        specialise the app. Raises ConfigError where no prompt is fused behind a constant beginning.
        """
        return self._encoder(arguments).run(items)

    async def aencode_ahead(self, items: Iterable[Any], **arguments: Any) -> int:
        """`encode_ahead`, awaited."""
        return await self._encoder(arguments).arun(items)

    def _encoder(self, arguments: Mapping[str, Any]) -> EncodeAhead:
        program = self._program_for((), arguments)
        return EncodeAhead(self._runner(), program, self.options)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """The plan as text."""
        return str(self.plan(*args, **kwargs))

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Notebooks show the user's calls."""
        from frontend_dsl.notebook import app_bundle

        return app_bundle(self)


def _surely_symbolic(app: App[..., Any]) -> dict[str, Kind]:
    """The parameters that are symbolic in each trace: a None would be known."""
    named = () if app.is_async else app.parameters
    return {p.name: Kind.VALUE for p in named if not p.is_static and not is_optional(p.type)}


def make_app(
    runner: Callable[[], Runner], function: Callable[P, R] | None, **options: Any
) -> "App[P, R] | Callable[[Callable[P, R]], App[P, R]]":
    """What `@tl.app` does, with the runner that runs its apps."""
    chosen = RunOptions(**options)
    if function is not None:
        return App(function, runner, chosen)
    return lambda f: App(f, runner, chosen)
