"""An `async def` app called where nothing can be awaited: a node that runs it as a session.

In a `def` app, and in the function of a tl.map, tl.cond or tl.loop, the call gives a value as any
other does. Its node is a `call` that writes, unless the app is known to do less.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backends.registry import EngineSpec
from frontend_dsl.components import PYTHON, Component
from frontend_dsl.program import RunOptions
from frontend_dsl.symbols import replacing
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value
from graph_opt.graph import Json

Specs = Mapping[str, EngineSpec]  # the engine to take instead, by the key of a component's own
RunNested = Callable[[Mapping[str, Any], RunOptions, Specs], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class NestedApp:
    """What the `fn` of a nested call names; the runner gives it the run that it belongs to."""

    name: str
    run: RunNested
    own: RunOptions
    returns: Any  # the declared type of the result
    variables: Mapping[str, Any]  # of its module
    components: tuple[Component, ...]  # those whose engines it may use
    access: Mapping[str, Json] = field(default_factory=dict)  # attrs of a call that does not write

    def specs(self, engines: Sequence[EngineSpec]) -> dict[str, EngineSpec]:
        """By the key of each component's engine the one that the outer run has for it."""
        pairs = zip(self.components, engines, strict=True)
        return {component.spec.key: spec for component, spec in pairs}

    def options(self, outer: RunOptions, listener: Callable[[Any], None] | None) -> RunOptions:
        """Those of the outer run; the time limit is its own."""
        options = replace(outer, engines={}, trace=None, listener=listener)
        return replace(options, timeout_s=self.own.timeout_s, is_agent=self.own.is_agent)


def emit_nested(nested: NestedApp, arguments: Mapping[str, Any]) -> Value:
    """The node of one call, in the graph that is traced."""
    tracer = tracing(f"app {nested.name}()")
    with (
        replacing(nested.name, nested.own.engines, nested.variables),
        tracer.call(nested.name),
    ):
        symbols = tracer.symbols
        engines: list[Json] = [symbols.engine(component) for component in nested.components]
        attrs: dict[str, Json] = {"fn": symbols.value(nested.name, nested), **nested.access}
        attrs |= {"kwargs": list(arguments)} if arguments else {}
        attrs |= {"engines": engines, "engine": symbols.engine(PYTHON)}
        values = [*arguments.values()]
        return tracer.emit("call", values, attrs, nested.name, nested.returns)
