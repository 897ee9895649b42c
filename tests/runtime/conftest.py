"""Runs a graph given as text on fake engines in virtual time."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backends.fake.llm import FakeLLM
from backends.registry import EngineSpec
from graph_opt.text import parse
from runtime.clock import run_virtual
from runtime.events import EventLog
from runtime.layout import layout_of
from runtime.service import Runtime

KINDS = {
    "llm": "llm",
    "embedder": "embedder",
    "reranker": "reranker",
    "store": "store",
    "python": "python",
    "tools": "python",
}


class World:
    """Fake engines with options, and a log of what their schedulers did."""

    def __init__(self, **options: Mapping[str, Any]) -> None:
        self.log = EventLog()
        self.runtime = Runtime()
        self.specs = {
            name: EngineSpec(kind, "fake:", options.get(name, {}))  # type: ignore[arg-type]
            for name, kind in KINDS.items()
        }

    async def run(
        self,
        text: str,
        inputs: Mapping[str, Any] | None = None,
        symbols: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Any]:
        layout = layout_of(parse(text))
        return await self.runtime.run(
            layout, inputs or {}, self.specs, symbols or {}, listener=self.log, **options
        )

    @property
    def num_live_contexts(self) -> int:
        engine = self.runtime.scheduler("llm", self.specs["llm"]).engine
        assert isinstance(engine, FakeLLM)
        return engine.num_live_contexts

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
