"""Runs a graph given as text on fake engines in virtual time."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backends.fake.llm import FakeLLM
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.registry import EngineSpec
from graph_opt.cost_model import CostModel
from graph_opt.objective import Kind
from graph_opt.text import parse
from runtime.clock import run_virtual
from runtime.events import EventLog
from runtime.hints import hints_of
from runtime.layout import layout_of
from runtime.service import Runtime

KINDS = {
    "llm": "llm",
    "embedder": "embedder",
    "reranker": "reranker",
    "store": "store",
    "python": "python",
    "tools": "python",
    "calls": "python",
}


class World:
    """Fake engines with options, and a log of what their schedulers did."""

    def __init__(self, policy: Policy = application_aware, **options: Mapping[str, Any]) -> None:
        self.log = EventLog()
        self.runtime = Runtime(policy)
        self.llms: dict[int, FakeLLM] = {}  # those that were ever used
        self.specs = {
            name: EngineSpec(kind, "fake:", options.get(name, {}))  # type: ignore[arg-type]
            for name, kind in KINDS.items()
        }

    async def run(
        self,
        text: str,
        inputs: Mapping[str, Any] | None = None,
        symbols: Mapping[str, Any] | None = None,
        cost: CostModel | None = None,
        objective: Kind = "latency",
        **options: Any,
    ) -> list[Any]:
        graph = parse(text)
        hints = hints_of(graph, cost, objective)
        layout = layout_of(graph, hints, speculates="speculate" in options)
        llm = self.runtime.scheduler("llm", self.specs["llm"]).engine
        assert isinstance(llm, FakeLLM)
        self.llms[id(llm)] = llm
        return await self.runtime.run(
            layout, inputs or {}, self.specs, symbols or {}, listener=self.log, **options
        )

    @property
    def num_live_contexts(self) -> int:
        return sum(llm.num_live_contexts for llm in self.llms.values())

    def run_all(self, *texts: str, **options: Any) -> list[Any]:
        """Run several graphs at once in virtual time; their results or exceptions."""

        async def main() -> list[Any]:
            runs = (self.run(text, **options) for text in texts)
            results = await asyncio.gather(*runs, return_exceptions=True)
            await self.runtime.close()
            return results

        return run_virtual(main())


@pytest.fixture
def world() -> Callable[..., World]:
    return World
