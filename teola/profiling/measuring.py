"""Profiles an engine: its latencies, of the ops of its kind."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from backends.base import Engine, Kind
from backends.errors import ConfigError
from backends.registry import EngineSpec, create
from runtime.clock import now
from runtime.cost.latency import LatencyModel
from runtime.cost.profile_store import Profile, key_of, make_profile
from teola.profiling.bench import Bench, Tell
from teola.profiling.inputs import embed, rerank
from teola.profiling.llm import profile_llm
from teola.profiling.store import profile_store

BUDGET_S = 20.0  # for one engine, without loading it
PROFILED_KINDS: tuple[Kind, ...] = ("llm", "embedder", "reranker", "store")


async def profile_spec(
    spec: EngineSpec, budget_s: float = BUDGET_S, tell: Tell = lambda _: None
) -> Profile:
    """Make the engine, measure it, close it. Raises ConfigError for what cannot be measured."""
    with _harmless(spec) as harmless:
        engine = create(harmless)
        await engine.start()
        try:
            began_s = now()
            model = await profile_engine(engine, budget_s, tell)
            return make_profile(key_of(spec), model, now() - began_s)
        finally:
            await engine.close()


async def profile_engine(
    engine: Engine, budget_s: float = BUDGET_S, tell: Tell = lambda _: None
) -> LatencyModel:
    """The latencies of a started engine that nobody else uses. Raises EngineError."""
    kind = engine.info.kind
    if kind not in PROFILED_KINDS:
        raise ConfigError(f"{kind} engines are not profiled; {', '.join(PROFILED_KINDS)} are")
    bench = Bench(engine, budget_s, tell)
    match kind:
        case "embedder":
            return LatencyModel({"embed": await bench.items("embed", embed)})
        case "reranker":
            return LatencyModel({"rerank": await bench.items("rerank", rerank)})
        case "store":
            return await profile_store(bench)
    return await profile_llm(bench)


@contextmanager
def _harmless(spec: EngineSpec) -> Iterator[EngineSpec]:
    """The same engine, but a store that keeps what it is given where nobody looks for it."""
    if spec.kind not in PROFILED_KINDS:
        raise ConfigError(f"{spec.kind} engines are not profiled; their times are learnt online")
    if spec.kind != "store" or spec.url in ("local:", "fake:"):
        yield spec
    elif spec.url.startswith("local:"):
        with tempfile.TemporaryDirectory(prefix="teola-profile-") as folder:
            yield replace(spec, url=f"local:{folder}")
    else:
        raise ConfigError(
            f"the store {spec.url!r} is not profiled: synthetic documents would be written to it"
        )
