"""A client that goes away, on a real engine: the answer stops and its pages are free."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backends.fake.retrieval import FakeEmbedder
from backends.llm.engine import LLMEngine
from backends.registry import EngineSpec, create
from teola.serving.app import make_app
from teola.serving.disconnect import ClientGone, while_connected
from teola.serving.served_engines import ServedEngines

STORY = [{"role": "user", "content": "Tell me a story of a fox and a crow. " * 9}]


def test_the_work_of_a_client_that_stays_is_returned() -> None:
    async def main() -> int:
        async def work() -> int:
            return 5

        return await while_connected(_stays, work())

    assert asyncio.run(main()) == 5


def test_what_the_work_raises_is_raised() -> None:
    async def main() -> None:
        async def work() -> None:
            raise ValueError("no")

        await while_connected(_stays, work())

    with pytest.raises(ValueError, match="no"):
        asyncio.run(main())


def test_the_work_of_a_client_that_leaves_is_cancelled_before_anything_else() -> None:
    async def main() -> list[str]:
        done: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                done.append("stopped")

        async def leaves() -> Any:
            return {"type": "http.disconnect"}

        with pytest.raises(ClientGone):
            await while_connected(leaves, work())
        return done

    assert asyncio.run(main()) == ["stopped"]


def test_cancelling_the_caller_cancels_the_work() -> None:
    async def main() -> None:
        started = asyncio.Event()
        stopped = asyncio.Event()

        async def work() -> None:
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

        task = asyncio.create_task(while_connected(_stays, work()))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert stopped.is_set()

    asyncio.run(main())


def test_texts_of_a_client_that_left_are_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        engine = FakeEmbedder("fake:", {"latency_s": 60})
        engines = ServedEngines([("fake:", engine)], max_queued=8)
        await engines.start()
        aborted: list[str] = []
        monkeypatch.setattr(engine, "abort", aborted.append)
        client = _Client("/v1/embeddings", {"input": "a"})
        answering = asyncio.create_task(
            make_app(engines)(client.scope, client.receive, client.send)
        )
        await _until(lambda: len(engine.journal) == 1)
        client.left.set()
        await answering
        assert len(aborted) == 1
        assert engines.served[0].admission.num_admitted == 0

    asyncio.run(main())


@pytest.mark.model
@pytest.mark.parametrize("streams", [True, False])
def test_pages_of_a_client_that_left_are_free(streams: bool) -> None:
    async def main() -> None:
        url = "local:smollm2-135m"
        engine = create(EngineSpec("llm", url, {"kv_tokens": 4096}))
        assert isinstance(engine, LLMEngine)
        engines = ServedEngines([(url, engine)], max_queued=8)
        await engines.start()
        try:
            core: Any = engine._core
            limits = {"max_tokens": 2000, "n": 2, "ignore_eos": True}
            body = {"messages": STORY, "stream": streams, **limits}
            client = _Client("/v1/chat/completions", body)
            answering = asyncio.create_task(
                make_app(engines)(client.scope, client.receive, client.send)
            )
            await _until(lambda: core.num_steps > 6)
            client.left.set()
            await answering
            await _until(lambda: not core.has_work)
            engine.flush_cache()
            await _until(lambda: core.cache.pool.num_free == core.cache.pool.num_pages)
            assert engines.served[0].admission.num_admitted == 0
        finally:
            await engines.close()
        core.check_integrity()

    asyncio.run(main())


async def _stays() -> Any:
    await asyncio.Event().wait()


async def _until(is_true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if is_true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


class _Client:
    """An ASGI client that asks once and leaves when told."""

    def __init__(self, path: str, body: Mapping[str, Any]) -> None:
        self.left = asyncio.Event()
        self.sent: list[Any] = []
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [],
            "query_string": b"",
        }
        self._body: bytes | None = json.dumps(body).encode()

    async def receive(self) -> Any:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
