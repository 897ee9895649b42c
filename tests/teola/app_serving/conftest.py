"""Services of apps in this process, on a port of their own."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from teola.app_serving.app import make_app
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.service import AppService
from teola.runner import default_runner
from teola.serving.listening import listen, url_of

Serve = Callable[..., AbstractContextManager["Client"]]


@dataclass
class Client:
    """Speaks with one service."""

    service: AppService
    http: httpx.Client
    url: str

    def run(self, app: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/apps/{app}/runs", json=body)

    def events(self, app: str, **arguments: Any) -> list[Any]:
        """Of a stream, without the [DONE] that must end it."""
        body = {"arguments": arguments, "stream": True}
        return _frames(self.http.post(f"/v1/apps/{app}/runs", json=body).text)

    def chat(self, model: str | None, said: Any, **fields: Any) -> httpx.Response:
        """What was said is a text of the user, or a list of messages."""
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        body = {"model": model, "messages": messages, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def chunks(self, model: str, said: Any, **fields: Any) -> list[Any]:
        """Of a streamed chat, without the [DONE] that must end it."""
        return _frames(self.chat(model, said, stream=True, **fields).text)

    def until(self, path: str, is_so: Callable[[Any], bool], seconds: float = 30.0) -> Any:
        """What a path gives as soon as it is so."""
        end_s = time.monotonic() + seconds
        while not is_so(found := self.http.get(path).json()):
            assert time.monotonic() < end_s, found
            time.sleep(0.01)
        return found

    def comes_to(self, line: str, value: float) -> None:
        """Waits until a line of /metrics has that value: some is counted behind the answer."""
        end_s = time.monotonic() + 30
        while (found := self.metric(line)) != value:
            assert time.monotonic() < end_s, f"{line}: {found}"
            time.sleep(0.01)

    def metric(self, line: str) -> float:
        """The value of a line of /metrics; 0 if there is none."""
        for found in self.http.get("/metrics").text.splitlines():
            if found.startswith(f"{line} "):
                return float(found.rpartition(" ")[2])
        return 0.0


def _frames(text: str) -> list[Any]:
    frames = text.removesuffix("\n\n").split("\n\n")
    assert frames[-1] == "data: [DONE]", text
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


@contextmanager
def _serving(
    *apps: Any,
    max_runs: int = 8,
    timeout_s: float | None = None,
    key: str | None = None,
    is_ready: bool = True,
    origins: tuple[str, ...] = (),
    shows_errors: bool = False,
    keeping: Keeping | None = None,
    tenant_header: str | None = None,
) -> Iterator[Client]:
    service = AppService(
        apps,
        max_runs,
        timeout_s,
        shows_errors=shows_errors,
        keeping=keeping,
        tenant_header=tenant_header,
    )
    if is_ready and keeping is None:
        asyncio.run(service.start())
    app = make_app(service, key, origins=origins)
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, lifespan="off", log_level="error", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)

    async def serve_and_close() -> None:
        if keeping:
            await service.start()
        await server.serve([listener])
        await service.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(serve_and_close())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with httpx.Client(base_url=url_of(listener), timeout=30) as http:
            yield Client(service, http, url_of(listener))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(autouse=True)
def _open_files() -> Iterator[None]:
    """The folders of runs that the process's own runner opened are of one test."""
    yield
    default_runner().run_stores.close()


@pytest.fixture(scope="session")
def serve() -> Serve:
    """`with serve(app, ...) as client`."""
    return _serving
