"""What the front end hands to a runner: programs, and how to run them."""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

from backends.errors import ConfigError
from backends.registry import EngineSpec
from graph_opt.analysis.objectives import Kind
from graph_opt.graph import Graph

OnValue = Callable[[str, Any], None]  # a name that the graph returns, and its value


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
    passes: tuple[Callable[..., Graph], ...] | None = None  # None: teola.PASSES
    timeout_s: float | None = None
    objective: Kind = "latency"  # "throughput": in bulk, after all that somebody waits for
    engines: Mapping[str, str] = field(default_factory=dict)  # engine name -> URL instead
    listener: Callable[[Any], None] | None = None  # gets every runtime.events.Event
    trace: str | None = None  # path of the trace file to write
    memo: bool | str = True  # remember pure work: in memory, on "disk", or in a folder; False: not
    salt: str | None = None  # a tenant: work and KV are shared only under the same one

    def __post_init__(self) -> None:
        if self.objective not in get_args(Kind):
            known = " or ".join(map(repr, get_args(Kind)))
            raise ConfigError(f"an app's objective is {known}, not {self.objective!r}")
        if not isinstance(self.memo, (bool, str)) or self.memo == "":
            raise ConfigError(f'memo is True, False, "disk" or a folder, not {self.memo!r}')


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

    async def start(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        options: RunOptions,
        on_value: OnValue,
    ) -> None:
        """Run a segment; `on_value` gets each output, on any thread, as soon as it is there."""

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an `async def` app and wait for it."""

    def stream_of(
        self, run: Callable[[Callable[[Any], None]], Coroutine[Any, Any, Any]]
    ) -> Iterator[Any]:
        """The events of an `async def` app, which `run` starts with a listener."""

    def listening(self, options: RunOptions) -> AbstractContextManager[RunOptions]:
        """The options with the trace file, if one is wanted, open for several queries."""
