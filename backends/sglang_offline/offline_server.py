"""The routes of SGLang's server over its `Engine`, called in this process.

Traps. `Engine.__init__` blocks for minutes, so it runs on a thread. The sync methods of the engine
drive an event loop of their own and cannot be called here. Its tasks live on the loop of the first
request. `shutdown` kills all child processes of this process, other libraries' too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.optional import optional_imports
from backends.rate_limits import RateReport
from backends.remote.errors import from_status
from backends.remote.url import Endpoint

_REJECTED = (ValueError, TypeError, KeyError)  # what the engine raises for a wrong request


class OfflineServer:
    """Starts one engine, at the first call of `start`; a `ServerClient`."""

    def __init__(self, url: str, engine_args: Mapping[str, Any]) -> None:
        self.endpoint = Endpoint("sglang", url, url)
        self.on_rates: Callable[[RateReport], None] | None = None  # it has no limits
        self._engine_args = dict(engine_args)
        self._engine: Any = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Load the model. Raises EngineUnavailable where it, or the package, cannot be loaded."""
        async with self._starting:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._load)

    async def get(self, path: str) -> Any:
        engine = self._started()
        if path == "/server_info":
            return _server_info(engine)
        if path == "/model_info":
            return engine.get_model_info()
        if path == "/v1/models":
            length = engine.tokenizer_manager.context_len
            name = engine.get_model_info().get("served_model_name")
            return {"data": [{"id": name, "owned_by": "sglang", "max_model_len": length}]}
        raise self._no_route(path)

    async def post(self, path: str, body: Mapping[str, Any], *, is_safe: bool) -> Any:  # noqa: ARG002
        engine = self._started()
        with self._typed(path):
            if path == "/generate":
                return await _aborting(engine, body, engine.async_generate(**body))
            if path == "/abort_request":
                return engine.tokenizer_manager.abort_request(rid=body["rid"])
            if path == "/tokenize":
                return {"tokens": _tokens(engine, body["prompt"])}
            if path == "/v1/embeddings":
                return await _embed(engine, body)
        raise self._no_route(path)

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Any]]:
        engine = self._started()
        if path != "/generate":
            raise self._no_route(path)
        with self._typed(path):
            events = await engine.async_generate(**body)
        async with aclosing(events):
            yield self._events(engine, body, events)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)

    async def _events(
        self, engine: Any, body: Mapping[str, Any], events: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        with self._typed("/generate"):
            while (event := await _aborting(engine, body, anext(events, None))) is not None:
                yield event

    def _load(self) -> Any:
        with optional_imports("sglang"):
            import sglang
        try:
            return sglang.Engine(**self._engine_args)
        except Exception as error:  # arguments, weights, memory, CUDA: its own words say which
            raise EngineUnavailable(
                f"{self.endpoint.root}: SGLang cannot start: {type(error).__name__}: {error}"
            ) from error

    def _started(self) -> Any:
        if self._engine is None:
            raise EngineUnavailable(f"{self.endpoint.root} is not started; call start() first")
        return self._engine

    def _no_route(self, path: str) -> RequestRejected:
        return RequestRejected(f"{self.endpoint.root}: SGLang in this process has no {path}")

    @contextmanager
    def _typed(self, path: str) -> Iterator[None]:
        """What the engine raises, with the meaning that its HTTP server gives it."""
        where = f"{self.endpoint.root}{path}"
        try:
            yield
        except EngineError:
            raise
        except _REJECTED as error:
            raise from_status(400, str(error), where) from error
        except Exception as error:  # fastapi's HTTPException among them
            status = getattr(error, "status_code", 500)
            raise from_status(status, getattr(error, "detail", str(error)), where) from error


async def _aborting(engine: Any, body: Mapping[str, Any], work: Any) -> Any:
    """A cancelled wait alone would leave the request running."""
    try:
        return await work
    except asyncio.CancelledError:
        engine.tokenizer_manager.abort_request(rid=body["rid"])
        raise


def _server_info(engine: Any) -> dict[str, Any]:
    """Without `Engine.get_server_info`, which runs a loop of its own."""
    manager = engine.tokenizer_manager
    schedulers = engine._scheduler_init_result.scheduler_infos
    return {**manager.server_args.resolved_dict(), **schedulers[0]}


def _tokens(engine: Any, text: str) -> list[int]:
    found: list[int] = engine.tokenizer_manager.tokenizer.encode(text, add_special_tokens=False)
    return found


async def _embed(engine: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    found = await engine.async_encode(list(body["input"]), dimensions=body.get("dimensions"))
    return {"data": [{"index": at, "embedding": one["embedding"]} for at, one in enumerate(found)]}
