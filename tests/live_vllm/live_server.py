"""A real vLLM, its CPU build, that serves the default model in float32; and engines beside it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx

from backends.base import Engine, Request, Result
from backends.registry import EngineSpec, create
from teola.background import BackgroundLoop
from teola.launching.launch import Server, start
from teola.launching.recipes import RECIPES, ServedModel, Settings

MODEL = "smollm2-135m"
SLOTS = 4
BLOCK_TOKENS = 32
FLAGS = (
    *("--enforce-eager", "--max-num-seqs", str(SLOTS), "--block-size", str(BLOCK_TOKENS)),
    *("--max-num-batched-tokens", "512"),
)
SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}

Call = Callable[..., Awaitable[Result]]
Scenario = Callable[[Call], Awaitable[Any]]


class RunningServer(Protocol):
    @property
    def url(self) -> str: ...


class GivenServer:
    """One that somebody started, with the flags above."""

    def __init__(self, url: str) -> None:
        self.url = url


class LiveServer:
    """Our own; it can be killed and started again on its port."""

    def __init__(self, python: Path, model: ServedModel) -> None:
        self._python = python
        self._model = model
        self._server = self._start(0)

    @property
    def url(self) -> str:
        return self._server.record.url

    def kill(self) -> None:
        self._server.stop(grace_s=0.0)

    def start_again(self) -> None:
        self._server = self._start(int(self._server.record.name.removeprefix("vllm-")))

    def stop(self) -> None:
        self._server.stop()

    def _start(self, port: int) -> Server:
        settings = Settings(port=port, dtype="float32", extra=FLAGS)
        recipe = RECIPES["vllm"]
        recipe = replace(recipe, variables={**recipe.variables, **SMALL})
        return start(recipe, self._python, self._model, settings, lambda _: None, wait_s=400)


class Engines:
    """Engines on one loop, each started once."""

    def __init__(self) -> None:
        self._loop = BackgroundLoop("live")
        self._engines: dict[str, Engine] = {}

    def run(self, url: str, options: Mapping[str, Any], scenario: Scenario) -> Any:
        """What a scenario comes to on the engine of `url`."""
        return self._loop.wait(self._run(url, options, scenario))

    def close(self) -> None:
        self._loop.wait(self._close())

    async def _run(self, url: str, options: Mapping[str, Any], scenario: Scenario) -> Any:
        key = json.dumps([url, dict(options)])
        if key not in self._engines:
            self._engines[key] = create(EngineSpec("llm", url, options))
        await self._engines[key].start()
        return await scenario(caller(self._engines[key]))

    async def _close(self) -> None:
        for engine in self._engines.values():
            await engine.close()


def caller(engine: Engine) -> Call:
    """Runs one request; raises what it came to."""

    async def call(op: str, *inputs: Any, emit: Any = None, **attrs: Any) -> Result:
        priority = attrs.pop("priority", 0)
        request = Request(uuid4().hex, op, inputs, attrs, priority=priority, emit=emit)
        (outcome,) = await engine.execute([request])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call


def metric(url: str, name: str) -> float:
    """The sum of a metric of the server of an engine's URL over its labels."""
    page = httpx.get(f"http://{url.split('/')[2]}/metrics").text
    lines = [line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    assert lines, f"no metric {name}"
    return sum(float(line.rpartition(" ")[2]) for line in lines)
