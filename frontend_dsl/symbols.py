"""What a traced graph names but cannot hold."""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from backends.errors import ConfigError
from backends.registry import EngineSpec
from frontend_dsl.components import Component


@dataclass(slots=True)
class Replacement:
    """The engines that an app, while it is inlined in another, replaces by name."""

    app: str
    urls: Mapping[str, str]
    variables: Mapping[str, Any]
    outer: "Replacement | None" = None
    names: set[str] = field(default_factory=set)  # of the engines it used

    def check(self) -> None:
        """Raises ConfigError for a name that the app used no engine of."""
        check_names(self.urls, self.names, f"app {self.app}()")


def check_names(wanted: Iterable[str], known: Collection[str], who: str) -> None:
    """Raises ConfigError for an engine name that is not known."""
    for name in wanted:
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{who} has no engine named {name!r}; it has {has}")


_replacement: ContextVar[Replacement | None] = ContextVar("teola_replacement", default=None)


@contextmanager
def replacing(app: str, urls: Mapping[str, str], variables: Mapping[str, Any]) -> Iterator[None]:
    """Replace engines by the names that `app` knows them by, for what is traced meanwhile."""
    if not urls:
        yield
        return
    replacement = Replacement(app, urls, variables, _replacement.get())
    token = _replacement.set(replacement)
    try:
        yield
    finally:
        _replacement.reset(token)
    replacement.check()


class Symbols:
    """What a graph names but does not hold: engines, functions, types. One for a whole app.

    Runs of an `async def` app in several threads share it.
    """

    def __init__(
        self, variables: Mapping[str, Any], specs: Mapping[str, EngineSpec] | None = None
    ) -> None:
        """`specs` are the engines to take instead of others, by the keys of those."""
        self._specs = specs or {}
        self.engines: dict[str, EngineSpec] = {}
        self.values: dict[str, Any] = {}
        self._variables = variables  # of the user's module: an engine is named like its variable
        self._lock = threading.Lock()

    def engine(self, component: Component) -> str:
        """The name under which the graph knows a component's engine.

        Components with names of their own keep them, so that each can be replaced by name, also
        where one engine serves them all; those without share the name of an equal one.
        """
        named, spec = _replaced(component)
        spec = self._specs.get(spec.key, spec)
        named = named or component.name or variable_of(component, self._variables)
        with self._lock:
            if named is None:
                equal = (name for name, known in self.engines.items() if known.key == spec.key)
                named = next(equal, spec.kind)
            given = next(name for name in _names(named) if self._is_free_for(name, spec))
            self.engines[given] = spec
            return given

    def _is_free_for(self, name: str, spec: EngineSpec) -> bool:
        return name not in self.engines or self.engines[name].key == spec.key

    def spec(self, component: Component) -> str:
        """The name of the spec of a component's engine: in each run of the one it runs on."""
        name = self.engine(component)
        return self.value(spec_symbol(name), self.engines[name])

    def value(self, name: str, value: Any) -> str:
        """The name under which the graph knows a function or a type."""
        with self._lock:
            return next(n for n in _names(name) if self.values.setdefault(n, value) is value)


@contextmanager
def replacing_nothing() -> Iterator[None]:
    """Leave out the replacements of the apps around."""
    token = _replacement.set(None)
    try:
        yield
    finally:
        _replacement.reset(token)


def spec_symbol(engine: str) -> str:
    """What the spec of an engine is called among the symbols."""
    return f"{engine}.spec"


def variable_of(component: Component, variables: Mapping[str, Any]) -> str | None:
    """The name of the variable that holds a component, or one that stands for the same engine."""
    for name, value in list(variables.items()):  # a copy: other threads may add to the module
        is_same = isinstance(value, Component) and value.spec is component.spec
        if is_same and not name.startswith("_"):
            return name
    return None


def _replaced(component: Component) -> tuple[str | None, EngineSpec]:
    """The engine that the apps being inlined put in place of a component's, and its name then."""
    named, spec = None, component.spec
    replacement = _replacement.get()
    while replacement is not None:
        own = variable_of(component, replacement.variables)
        name = named or component.name or own or spec.kind
        replacement.names.add(name)
        if name in replacement.urls:
            spec = EngineSpec(spec.kind, replacement.urls[name])
            named = f"{replacement.app}.{name}"
        replacement = replacement.outer
    return named, spec


def _names(name: str) -> Iterator[str]:
    """`answer`, then `answer_2`, `answer_3` ..."""
    yield name
    yield from (f"{name}_{i}" for i in count(2))
