"""What the front end hands to a runner: programs, and how to run them."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, get_args

from backends.errors import ConfigError
from backends.registry import EngineSpec
from frontend_dsl.fusion_option import check_fusion
from frontend_dsl.signature import ArgumentError
from graph_opt.graph import Graph
from graph_opt.objective import Kind


class PlanKey:
    """Stands for the plans of programs that differ only in what their names stand for."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A traced app: the plain graph, and what its names stand for."""

    graph: Graph
    engines: Mapping[str, EngineSpec]
    symbols: Mapping[str, Any]  # functions and types
    returns: Any  # the declared type of the result
    plan_key: PlanKey = field(default_factory=PlanKey)


@dataclass(frozen=True, slots=True)
class Called:
    """A call of an app as its caller made it."""

    app: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class CallInputs(dict[str, Any]):
    """The inputs of one run, and the call that they are of."""

    def __init__(self, inputs: Mapping[str, Any], called: Called) -> None:
        super().__init__(inputs)
        self.called = called


_OF_RUNNERS = ("caller", "is_agent", "stored", "resumes")  # options that nobody sets by `using`


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
    trace_texts: bool = False  # with what models write, which the file else leaves out
    memo: bool | str = True  # remember pure work: in memory, on "disk", or in a folder; False: not
    record: str | None = None  # file to append what engines answer to, for emulated ones
    salt: str | None = None  # a tenant: work and KV are shared only under the same one
    fakes: tuple[Any, ...] = ()  # of the `tl.fake` blocks around the run
    policy: Any = None  # orders what waits at engines: a name, or a backends.policy.base.Policy
    tenant: str | None = None  # for whom, to fair policies; None: the salt
    deadline_s: float | None = None  # wanted within so many seconds: `least_slack` goes by it
    approve: Callable[..., Any] | None = None  # is asked by tl.approve; None: the terminal
    fusion: str | None = None  # of prompts whose model says nothing; "exact": of all prompts
    prefill_ahead: bool | None = None  # while documents are reranked; None: where it is seen to pay
    speculate: float | None = None  # share of what is of use that guesses may waste; None: none
    runs: bool | str = False  # keep what runs finish, to resume them: a folder; True: the default
    otel: Any = None  # spans of the queries: True, the URL of a receiver, or a tl.Otel
    is_agent: bool = field(default=False, compare=False)  # which spans say, and nothing else
    stored: Any = field(default=None, compare=False)  # the place in a stored run
    resumes: Any = field(default=None, compare=False)  # the stored run that goes on
    caller: Any = field(default=None, compare=False)  # of a run that has begun: runtime.caller

    def __post_init__(self) -> None:
        if self.objective not in get_args(Kind):
            known = " or ".join(map(repr, get_args(Kind)))
            raise ConfigError(f"an app's objective is {known}, not {self.objective!r}")
        if not isinstance(self.memo, (bool, str)) or self.memo == "":
            raise ConfigError(f'memo is True, False, "disk" or a folder, not {self.memo!r}')
        if not isinstance(self.runs, (bool, str)) or self.runs == "":
            raise ConfigError(f"runs is True, False or a folder, not {self.runs!r}")
        if self.salt is not None and (not isinstance(self.salt, str) or self.salt == ""):
            raise ConfigError(f"salt is a text that names a tenant, or None; not {self.salt!r}")
        if self.tenant is not None and (not isinstance(self.tenant, str) or self.tenant == ""):
            raise ConfigError(f"tenant is a text, or None for the salt; not {self.tenant!r}")
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise ConfigError(f"deadline_s is {self.deadline_s}; it must be above 0, or None")
        if self.fusion is not None:
            _check_fusion(self.fusion)
        if self.prefill_ahead not in (None, True, False):
            raise ConfigError(f"prefill_ahead is True, False or None, not {self.prefill_ahead!r}")
        if self.speculate is not None and not 0 < self.speculate <= 1:
            raise ConfigError(f"speculate is a share above 0, to 1, or None; not {self.speculate}")
        for name, url in self.engines.items():
            if not isinstance(url, str):
                raise ConfigError(f"engines= gives {name!r} a URL, like 'fake:'; got {url!r}")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be above 0, or None")


def user_options() -> list[str]:
    """The options that `using` takes."""
    return [each.name for each in fields(RunOptions) if each.name not in _OF_RUNNERS]


def _check_fusion(fusion: object) -> None:
    try:
        check_fusion(fusion, "fusion= of an app")
    except ValueError as error:
        raise ConfigError(str(error)) from None


MOST_AT_ONCE = 4096  # runs of one batch


@dataclass(frozen=True, slots=True)
class Batch:
    """Many runs of an app."""

    name: str
    size: int
    concurrency: int | None  # so many at once; None: `MOST_AT_ONCE`, engines bound what they run
    progress: bool | None  # show a bar; None: if stderr is a terminal

    def __post_init__(self) -> None:
        bound = self.concurrency
        if bound is not None and (
            isinstance(bound, bool) or not isinstance(bound, int) or bound < 1
        ):
            raise ArgumentError(f"concurrency= is how many run at once, 1 or more; not {bound!r}")

    @property
    def at_once(self) -> int:
        """How many run at once; the rest waits outside, where it takes no memory."""
        return self.concurrency or MOST_AT_ONCE


class StreamEvent(Protocol):
    """What a stream tells, one thing that happened: see `runtime.events.Event`."""

    @property
    def t(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


Call = tuple[Program, Mapping[str, Any]] | Exception  # or why there is none
RunListened = Callable[[Callable[[Any], None]], Coroutine[Any, Any, Any]]  # with a listener


class Runner(Protocol):
    """Runs programs. The sync and async doors lead to the same engines."""

    def run(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any: ...

    def prepare(self, program: Program, options: RunOptions) -> None:
        """Make what its first run would have to."""

    async def arun(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Any: ...

    def stream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Iterator[StreamEvent]: ...

    def astream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> AsyncGenerator[StreamEvent, None]: ...

    def batch(self, calls: Sequence[Call], options: RunOptions, how: Batch) -> list[Any]:
        """All results in order, an exception in the place of what failed; one trace file."""

    async def abatch(self, calls: Sequence[Call], options: RunOptions, how: Batch) -> list[Any]:
        """The same, awaited on the caller's own loop."""

    def plan(self, program: Program, options: RunOptions) -> Any: ...

    def encoding(self, program: Program, options: RunOptions) -> Program:
        """A program that computes the KV of its input `items` for the fused prompts of this one.
        Raises ConfigError where there are none."""

    async def run_segments(
        self,
        name: str,
        body: Callable[["Segments"], Awaitable[Any]],
        options: RunOptions,
        arguments: Mapping[str, Any],
        engines: Callable[[], Mapping[str, EngineSpec]],
    ) -> Any:
        """Run an `async def` app, `body`, which is given what starts its segments. Spans hold the
        arguments where they hold content. `engines` are those that its code names."""

    def capabilities(self, spec: EngineSpec) -> frozenset[str] | None:
        """What an engine can do; None where that is not known before it runs."""

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an `async def` app and wait for it."""

    async def gather(
        self,
        runs: Callable[[RunOptions], Iterable[Coroutine[Any, Any, Any]]],
        options: RunOptions,
        how: Batch,
    ) -> list[Any]:
        """The same of `async def` apps, on the caller's loop."""

    def stream_session(self, name: str, run: RunListened) -> Iterator[StreamEvent]:
        """The events of an `async def` app, which `run` starts."""

    def astream_session(self, name: str, run: RunListened) -> AsyncGenerator[StreamEvent, None]:
        """The same, on the caller's loop."""


class Pending(Protocol):
    """A value that a segment gives. A context is freed when nobody holds its Pending."""

    @property
    def is_there(self) -> bool:
        """Whether the value is known."""

    @property
    def real(self) -> Any:
        """The value, which must be there."""

    async def get(self) -> Any:
        """The value. Raises what failed: a tool's own exception, or a teola error."""

    def texts(self) -> AsyncIterator[str]:
        """The pieces of a text as they come; raises like `get`."""


class Segments(Protocol):
    """Starts the segments of one run of an `async def` app; keeps their effects in order."""

    def issue(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        *,
        final: Collection[str] = (),
        streamed: Collection[str] = (),
    ) -> Mapping[str, Pending]:
        """Start a segment; its values by the names that its graph returns.

        Inputs that are Pending are waited for. Events of the texts `final` say so; the pieces of
        those `streamed` come by `Pending.texts`.
        """

    async def within(self, name: str, work: Awaitable[Any], timeout_s: float | None) -> Any:
        """What the work gives. Raises QueryTimeout after `timeout_s`."""

    @property
    def stored_as(self) -> str | None:
        """How commands name the run, if it is stored: its id, and its folder perhaps."""
