"""Apps on a virtual clock: a run takes no longer than its Python, and tells how long it would take.

Engines that emulate spend their seconds on that clock. Tools, stores and files count as no time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from backends.base import Engine
from backends.errors import ConfigError
from backends.registry import EngineSpec
from backends.url_options import instances_in
from runtime.clock import now, run_virtual
from teola.runner import AppRunner, chosen_runner

T = TypeVar("T")

_SCHEMES = ("emulated", "fake")  # of LLMs, embedders and rerankers
_STORES = ("local", "fake")


@dataclass(frozen=True, slots=True)
class VirtualRun:
    """What an app gave, and the seconds that it would take."""

    result: Any
    seconds: float


def run_virtually(app: Any, *args: Any, **kwargs: Any) -> VirtualRun:
    """Run an app on a virtual clock, with engines of its own that are closed at the end.

    Raises what the app raises, and ConfigError for an engine that computes in real time."""

    async def timed() -> VirtualRun:
        began_s = now()
        result = await app.arun(*args, **kwargs)
        return VirtualRun(result, now() - began_s)

    return on_virtual_clock(timed)


def on_virtual_clock(run: Callable[[], Awaitable[T]]) -> T:
    """What `run` gives; the apps that it runs are on the virtual clock. Blocks, also where a loop
    runs already, as in a notebook."""

    async def main() -> T:
        runner = VirtualRunner()
        with chosen_runner(runner):
            try:
                return await run()
            finally:
                await runner.aclose()

    return beside_loop(lambda: run_virtual(main()))


def beside_loop(run: Callable[[], T]) -> T:
    """What `run` gives, which has a loop of its own: a thread can have only one that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1, "teola-virtual") as thread:
        return thread.submit(copy_context().run, run).result()


class SameLoop:
    """Runs coroutines on the running loop, where `BackgroundLoop` has one of its own."""

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """A task, which `asyncio.wrap_future` takes as well."""
        return cast("Future[T]", asyncio.get_running_loop().create_task(coroutine))

    async def run_to_end(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wrap_future(self.submit(coroutine))
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            raise

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Raises RuntimeError."""
        coroutine.close()
        self.check_may_wait()

    def close(self, wait_s: float = 0.0) -> None:
        """Nothing to do: the loop is the caller's."""

    def check_may_wait(self) -> None:
        """Nobody can block here: the clock would stand still."""
        raise RuntimeError(
            "a plain function called an app on the virtual clock, which cannot wait for it: make "
            "the function `async def` and write `await app.arun(...)` or `app.astream(...)`"
        )


class VirtualRunner(AppRunner):
    """Everything on the running loop; no engine that computes in real time."""

    def __init__(self) -> None:
        super().__init__(background=SameLoop(), apps=SameLoop())

    def _take(self, spec: EngineSpec) -> Engine:
        check_virtual(spec)
        return super()._take(spec)


def check_virtual(spec: EngineSpec) -> None:
    """Raises ConfigError for an engine whose time the virtual clock does not know."""
    schemes = {one.partition(":")[0] for one in instances_in(spec.url)}
    if spec.kind == "python" or schemes.issubset(_STORES if spec.kind == "store" else _SCHEMES):
        return
    if spec.kind == "store":
        raise ConfigError(
            f"the store {spec.url!r} cannot be on a virtual clock: take one in this process "
            "(local:)"
        )
    raise ConfigError(
        f"{spec.url!r} computes in real time and cannot be on a virtual clock: take an emulated "
        f"{spec.kind}, like --engine NAME=emulated:h100/{_EXAMPLES[spec.kind]}"
    )


_EXAMPLES = {
    "llm": "llama-3.1-8b",
    "embedder": "bge-large",
    "reranker": "bge-reranker-large",
}
