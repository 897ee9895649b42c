"""Servers to talk to: an app in this process over scripted engines, and real processes."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn

from backends.fake.llm import FakeLLM
from backends.fake.retrieval import FakeEmbedder, FakeReranker
from backends.llm.factory import create
from teola.serving.app import make_app
from teola.serving.client_rules import ALL_ALLOWED, ClientRules
from teola.serving.listening import listen, url_of
from teola.serving.served_engines import ServedEngines

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from server_process import server_process

T = TypeVar("T")


class Talker:
    """Sends requests to an app in this process, and waits for whole answers."""

    def __init__(
        self,
        engines: ServedEngines,
        llm: FakeLLM,
        api_key: str | None,
        origins: Sequence[str] = (),
        hosts: Sequence[str] = ("*",),
    ) -> None:
        self.engines = engines
        self.llm = llm
        self.app = make_app(engines, api_key, origins=origins, hosts=hosts)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._run("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self._run("POST", path, body, headers)

    def options(self, path: str, **headers: str) -> httpx.Response:
        return self._run("OPTIONS", path, None, headers)

    def events(self, path: str, body: Mapping[str, Any]) -> list[Any]:
        """The events of a stream, without the [DONE] that must end it."""
        return events_of(self.post(path, {**body, "stream": True}).text)

    def post_all(self, path: str, bodies: list[Any]) -> list[httpx.Response]:
        async def main() -> list[httpx.Response]:
            async with self._client() as client:
                return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

        return asyncio.run(main())

    def _run(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> httpx.Response:
        async def main() -> httpx.Response:
            async with self._client() as client:
                content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(main())

    def _client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://server")

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The URL of the app on a port of its own, for clients that bring their own transport."""
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(self.app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()
            listener.close()


def events_of(text: str) -> list[Any]:
    frames = text.removesuffix("\n\n").split("\n\n")
    assert frames[-1] == "data: [DONE]", text
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


@pytest.fixture
def talk() -> Callable[..., Talker]:
    """Makes a server over a scripted LLM, embedder and reranker; options are the LLM's, if it is
    not given."""

    def make(
        max_queued: int = 64,
        api_key: str | None = None,
        ready: bool = True,
        llm: FakeLLM | None = None,
        adapters: Mapping[str, str] | None = None,
        embedder_options: Mapping[str, Any] | None = None,
        rules: ClientRules = ALL_ALLOWED,
        origins: Sequence[str] = (),
        hosts: Sequence[str] = ("*",),
        **options: Any,
    ) -> Talker:
        llm = llm or FakeLLM("fake:talker", options)
        embedder = FakeEmbedder("fake:vectors", embedder_options or {})
        others = [("fake:vectors", embedder)]
        others += [("fake:ranker", FakeReranker("fake:ranker", {}))]
        engines = ServedEngines(
            [("fake:talker", llm), *others], max_queued, adapters=adapters or {}, rules=rules
        )
        if ready:
            asyncio.run(engines.start())
        return Talker(engines, llm, api_key, origins, hosts)

    return make


@dataclass
class Process:
    """A server of its own."""

    process: subprocess.Popen[str]
    url: str  # of its root

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        (value,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(value)


@contextmanager
def serving(*words: str) -> Iterator[Process]:
    """`teola serve-engine` with `words`, once it is ready."""
    with server_process("serve-engine", *words) as (process, url):
        yield Process(process, url)


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return serving


class TinyTalk:
    """Speaks with a server of the tiny model in this process; `options` are the engine's."""

    def __init__(self, folder: Path, *, rules: ClientRules = ALL_ALLOWED, **options: Any) -> None:
        options = {"dtype": "float32", "kernels": "torch", "kv_tokens": 1024, **options}
        self.engine = create("llm", f"local:{folder}", options)
        self.engines = ServedEngines(
            [("local:tiny", self.engine)],
            max_queued=4,
            rules=rules,
        )
        self.app = make_app(self.engines)
        self._loop = asyncio.new_event_loop()
        self.run(self.engines.start())
        self._transport = httpx.ASGITransport(self.app)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        async def main() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://s") as client:
                return await (client.get(path) if body is None else client.post(path, json=body))

        return self.run(main())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.engines.close())
        self._loop.close()


@pytest.fixture(scope="module")
def talk_tiny(tiny_folder: Callable[..., Path]) -> Iterator[Callable[..., TinyTalk]]:
    """Makes servers of the tiny model, with so many positions; options are the engine's."""
    made: list[TinyTalk] = []

    def make(positions: int = 512, folder: Path | None = None, **options: Any) -> TinyTalk:
        folder = folder or tiny_folder(max_position_embeddings=positions)
        made.append(TinyTalk(folder, **options))
        return made[-1]

    yield make
    for talk in made:
        talk.close()


@pytest.fixture(scope="module")
def tiny_server(talk_tiny: Callable[..., TinyTalk]) -> TinyTalk:
    return talk_tiny()


@pytest.fixture
def with_pair(tiny_folder: Callable[..., Path]) -> Callable[..., None]:
    """Runs a coroutine over a pair of engines of the tiny model."""

    def run(work: Callable[[Any], Any], **options: Any) -> None:
        from token_pair import pair_of

        async def main() -> None:
            async with asyncio.timeout(300), pair_of(tiny_folder(), **options) as pair:
                await work(pair)

        asyncio.run(main())

    return run
