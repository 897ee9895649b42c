"""What became of simulated queries, and the figures of a whole run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean

from runtime.errors import NodeFailed
from runtime.events import Event


@dataclass(slots=True)
class Served:
    """A query, told by its events. Times in seconds on the virtual clock."""

    arrived_s: float
    first_s: float | None = None  # when its answer began, for a query that streams it
    ended_s: float = 0.0
    error: Exception | None = None
    prefill_tokens: int = 0
    cached_tokens: int = 0
    decode_tokens: int = 0
    wasted_tokens: int = 0

    @property
    def jct_s(self) -> float:
        """From its arrival to its end."""
        return self.ended_s - self.arrived_s

    @property
    def ttft_s(self) -> float:
        """To the first token of its answer; of one that comes whole, to its end."""
        return (self.ended_s if self.first_s is None else self.first_s) - self.arrived_s

    def on_event(self, event: Event) -> None:
        """An event of this query, or of an app inside it."""
        if event.kind == "text":
            if event.fields.get("final") and self.first_s is None:
                self.first_s = event.t
        elif event.kind == "end":
            for name in ("prefill_tokens", "cached_tokens", "decode_tokens", "wasted_tokens"):
                setattr(self, name, getattr(self, name) + event.fields.get(name, 0))


@dataclass(frozen=True, slots=True)
class EngineUse:
    """What an engine did."""

    url: str
    busy_s: float  # of all its instances
    instances: int = 1
    preemptions: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy's run."""

    queries: int
    failed: int
    seconds: float  # from the first arrival's clock, 0, to the last end
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    ttft_mean_s: float
    ttft_p99_s: float
    queries_s: float
    decoded_tokens_s: float
    cached_share: float  # of all prompt tokens
    wasted_tokens: int
    preemptions: int
    utilisation: Mapping[str, float] = field(default_factory=dict)  # by engine
    errors: Mapping[str, int] = field(default_factory=dict)  # by type
    first_error: str | None = None

    def as_json(self) -> dict[str, object]:
        return {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def figures_of(served: Sequence[Served], engines: Mapping[str, EngineUse]) -> Figures:
    """Times are those of the queries that ended well; of a run without any they are 0."""
    well = [each for each in served if each.error is None]
    jct, ttft = sorted(each.jct_s for each in well), sorted(each.ttft_s for each in well)
    seconds = max((each.ended_s for each in served), default=0.0)
    prompts = sum(each.prefill_tokens + each.cached_tokens for each in served)
    errors = [each.error for each in served if each.error is not None]
    return Figures(
        queries=len(served),
        failed=len(served) - len(well),
        seconds=seconds,
        mean_s=mean(jct) if jct else 0.0,
        p50_s=percentile(jct, 50),
        p95_s=percentile(jct, 95),
        p99_s=percentile(jct, 99),
        ttft_mean_s=mean(ttft) if ttft else 0.0,
        ttft_p99_s=percentile(ttft, 99),
        queries_s=_share(len(well), seconds),
        decoded_tokens_s=_share(sum(each.decode_tokens for each in served), seconds),
        cached_share=_share(sum(each.cached_tokens for each in served), prompts),
        wasted_tokens=sum(each.wasted_tokens for each in served),
        preemptions=_preemptions(engines.values()),
        utilisation={
            name: round(_share(use.busy_s, seconds * use.instances), 6)
            for name, use in engines.items()
        },
        errors=Counter(_kind_of(error) for error in errors),
        first_error=str(errors[0]) if errors else None,
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The least value that so many percent do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _kind_of(error: Exception) -> str:
    """The type of what an engine or a tool said, where it failed a node."""
    cause = error.cause if isinstance(error, NodeFailed) else error
    return type(cause).__name__


def _preemptions(uses: Iterable[EngineUse]) -> int:
    return sum({use.url: use.preemptions for use in uses}.values())  # names may share an engine


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
