"""What a traced graph names but cannot hold."""

from collections.abc import Mapping
from typing import Any

from backends.registry import EngineSpec
from frontend_dsl.components import Component


class Symbols:
    """What a graph names but does not hold: engines, functions, types. One for a whole app."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.engines: dict[str, EngineSpec] = {}
        self.values: dict[str, Any] = {}
        self._variables = variables  # of the user's module: an engine is named like its variable

    def engine(self, component: Component) -> str:
        """The name under which the graph knows a component's engine.

        Components with names of their own keep them, so that each can be replaced by name, also
        where one engine serves them all; those without share the name of an equal one.
        """
        spec = component.spec
        named = component.name or self._variable_of(component)
        for name, known in self.engines.items():
            if known.key == spec.key and named in (None, name):
                return name
        name = _free_name(named or spec.kind, self.engines)
        self.engines[name] = spec
        return name

    def value(self, name: str, value: Any) -> str:
        """The name under which the graph knows a function or a type."""
        while self.values.get(name, value) is not value:
            name = _free_name(name, self.values)
        self.values[name] = value
        return name

    def _variable_of(self, component: Component) -> str | None:
        for name, value in self._variables.items():
            is_same = isinstance(value, Component) and value.spec is component.spec
            if is_same and not name.startswith("_"):
                return name
        return None


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    return next(n for i in range(2, 10**6) if (n := f"{name}_{i}") not in taken)
