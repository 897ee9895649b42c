"""Apps that run inside a run, as sessions of their own: with its options, told to its listeners."""

from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from backends.registry import EngineSpec
from frontend_dsl.agents.errors import AgentError
from frontend_dsl.nested import NestedApp
from frontend_dsl.program import RunOptions
from frontend_dsl.tracer import untraced
from runtime.errors import NodeFailed
from runtime.events import Event, Listener
from runtime.nested import Function, Nested
from teola.background import Background


@contextmanager
def said_by_agents() -> Iterator[None]:
    """What ended an agent inside an app ends the app as the agent said it, with the place."""
    try:
        yield
    except NodeFailed as failure:
        error = failure.cause
        if not isinstance(error, AgentError):
            raise
        error.add_note(f"raised by %{failure.node} ({failure.where})")
        raise error from None


class NestedRuns:
    """The sessions inside one query. When that has ended nothing more is told of them."""

    def __init__(
        self,
        apps: Background,
        options: RunOptions,
        engines: Mapping[str, EngineSpec],
        listener: Listener | None,
        final: Collection[str] = (),
    ) -> None:
        """`engines` are the query's own by name; `final` names the values that it gives itself."""
        self.options = options
        self.engines = engines
        self._apps = apps
        self._listener = listener
        self._final = final
        self._is_over = False

    def symbols(self, symbols: Mapping[str, Any]) -> Mapping[str, Any]:
        """The symbols of the query, with what runs the apps among them."""
        bound = {
            name: BoundNested(value, self)
            for name, value in symbols.items()
            if isinstance(value, NestedApp)
        }
        return {**symbols, **bound} if bound else symbols

    def end(self) -> None:
        """The query has ended."""
        self._is_over = True

    def listener(self, path: str) -> Listener | None:
        """Who hears of the session at a place of the query."""
        listener = self._listener
        if listener is None:
            return None

        is_final = path.partition(".")[2] in self._final

        def tell(event: Event) -> None:
            if self._is_over:
                return
            fields = event.fields
            if event.kind == "query" and "within" not in fields:
                event = replace(event, fields={**fields, "within": path})
            elif event.kind == "text" and fields["final"] and not is_final:
                event = replace(event, fields={**fields, "final": False})
            listener(event)

        return tell

    async def run(self, session: Coroutine[Any, Any, Any]) -> Any:
        """Run a session on the apps' loop. Cancelled, it has stopped there first."""
        return await self._apps.run_to_end(session)


@dataclass(frozen=True, slots=True, eq=False)
class BoundNested(Nested):
    """An app among a query's symbols."""

    app: NestedApp
    runs: NestedRuns

    def at(self, path: str, engines: Sequence[str]) -> Function:
        """The function that the call at this place of the query runs."""
        app, runs = self.app, self.runs
        specs = app.specs([runs.engines[name] for name in engines])
        options = app.options(runs.options, runs.listener(path))
        if options.stored is not None:
            options = replace(options, stored=options.stored.within(path.partition(".")[2]))

        async def run(**arguments: Any) -> Any:
            with untraced():
                return await runs.run(app.run(arguments, options, specs))

        run.__name__ = run.__qualname__ = app.name
        return run
