"""Calls Python functions: plain ones in threads, `async def` ones on the event loop."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from backends.base import EngineInfo, Outcome, Request, Result, Usage
from backends.errors import EngineError, EngineOverloaded, EngineUnavailable, RequestRejected
from backends.loop_clock import is_virtual
from backends.tools.threads import ToolThreads

Thunk = Callable[[], Any]

NO_LIMIT = 1 << 20  # calls at once: one that waits here may be the one that others wait for
ONE_CALL = Usage(num_items=1)
MAX_THREADS = 512
STALL_S = 120.0


class PythonEngine:
    """What a function raises is its request's outcome, unchanged.

    A function may call apps, and their tools run here too: async functions hold nothing, plain
    ones a thread each. `abort` cancels an async function. A thread cannot be stopped: an aborted
    plain function runs to its end unseen, and keeps its thread, no other, until then.
    """

    def __init__(
        self,
        num_slots: int = NO_LIMIT,
        max_threads: int = MAX_THREADS,
        stall_s: float = STALL_S,
    ) -> None:
        self._info = EngineInfo(
            "python",
            "python",
            num_slots=num_slots,
            capabilities=frozenset({"abort", "repeatable"}),  # where a call is declared pure
        )
        self._max_threads = max_threads
        self._stall_s = stall_s
        self._threads: ToolThreads | None = None
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._aborted: set[str] = set()

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self) -> None:
        if self._threads is None:
            self._threads = ToolThreads(self._max_threads, self._stall_s)

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        if self._threads is None:
            raise EngineUnavailable("the Python engine is not started; call start() first")
        return list(await asyncio.gather(*map(self._run, requests)))

    def abort(self, request_id: str) -> None:
        task = self._running.get(request_id)
        if task is not None:
            self._aborted.add(request_id)
            task.cancel()

    async def close(self) -> None:
        """Waits for no thread: a function that never ends must not keep the program."""
        threads, self._threads = self._threads, None
        for request_id in list(self._running):
            self.abort(request_id)
        if threads is not None:
            threads.close()

    async def _run(self, request: Request) -> Outcome:
        task = self._running[request.id] = asyncio.create_task(self._call(request))
        try:
            return await task
        except asyncio.CancelledError:
            if request.id not in self._aborted:
                task.cancel()
                raise
            return EngineError(f"the call of {_name(request.attrs.get('fn'))} was aborted")
        finally:
            del self._running[request.id]
            self._aborted.discard(request.id)

    async def _call(self, request: Request) -> Outcome:
        try:
            fn, thunk = _read(request)
        except RequestRejected as error:
            return error
        outcome = _attempt(thunk) if _is_async(fn) else await self._in_thread(thunk)
        if isinstance(outcome, Result) and inspect.isawaitable(outcome.outputs[0]):
            outcome = await _awaited(outcome.outputs[0])
        return outcome

    async def _in_thread(self, thunk: Thunk) -> Outcome:
        assert self._threads is not None, "execute saw that the engine is started"
        context = contextvars.copy_context()
        if is_virtual(asyncio.get_running_loop()):
            return context.run(_attempt, thunk)
        try:
            return await self._threads.run(lambda: context.run(_attempt, thunk))
        except EngineOverloaded as error:
            return error


def _read(request: Request) -> tuple[Callable[..., Any], Thunk]:
    if request.op != "call":
        raise RequestRejected(f"the Python engine runs 'call', not {request.op!r}")
    fn = request.attrs.get("fn")
    names = tuple(request.attrs.get("kwargs") or ())
    if not callable(fn):
        raise RequestRejected(f"'call' needs a callable fn, got {fn!r}")
    if len(names) > len(request.inputs):
        raise RequestRejected(f"'call' has {len(names)} names for {len(request.inputs)} inputs")
    split = len(request.inputs) - len(names)
    args, named = request.inputs[:split], dict(zip(names, request.inputs[split:], strict=True))
    return fn, lambda: fn(*args, **named)


def _is_async(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 - an object whose call is async
    )


# An outcome is stored where the function ran, not raised through a future: a StopIteration
# cannot pass one, and the request would never end.


def _attempt(thunk: Thunk) -> Outcome:
    try:
        return _result(thunk())
    except SystemExit as error:
        return _exited(error)
    except Exception as error:
        return error
    except BaseException as error:  # KeyboardInterrupt, CancelledError: raised by the function
        return _odd(error)


async def _awaited(value: Any) -> Outcome:
    try:
        return _result(await value)
    except SystemExit as error:
        return _exited(error)
    except Exception as error:
        return error
    except asyncio.CancelledError:
        if _is_being_cancelled():
            raise
        return EngineError("the called function raised CancelledError: what it awaited was stopped")
    except (KeyboardInterrupt, GeneratorExit) as error:
        return _odd(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _result(value: Any) -> Result:
    return Result((value,), ONE_CALL)


def _exited(error: SystemExit) -> EngineError:
    return EngineError(f"the called function tried to end the program (exit code {error.code!r})")


def _odd(error: BaseException) -> EngineError:
    return EngineError(f"the called function raised {type(error).__name__}: {error}")


def _name(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or repr(fn)
