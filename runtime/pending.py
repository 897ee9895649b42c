"""A value that a segment of an `async def` app will give, and how it gets from the engines' loop to
the app's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol

from backends.base import Context
from runtime.errors import FailedInput, QueryError, own_error
from runtime.outputs import Outputs


class Owner(Protocol):
    """The session that a value belongs to."""

    def tell(self, failure: Exception) -> None:
        """The app is told of a failure."""

    def own(self, context: Context) -> None:
        """A value holds a context."""

    def disown(self, context: Context) -> None:
        """It does no more."""


class Pending:
    """A value that a segment gives. A context is released when nobody holds its Pending."""

    def __init__(self, owner: Owner) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._context: Context | None = None

    @property
    def is_there(self) -> bool:
        """Whether the value is known."""
        return self.future.done() and not self.future.cancelled() and not self.future.exception()

    @property
    def real(self) -> Any:
        """The value, which must be there."""
        return self.future.result()

    async def get(self) -> Any:
        """The value. Raises what failed: a tool's own exception, or a teola error."""
        try:
            return await asyncio.shield(self.future)
        except Exception as failure:
            self._owner.tell(failure)
            error = own_error(failure)
        raise error

    async def as_input(self) -> Any:
        """The value for a later segment, where only what reads it fails with it."""
        try:
            return await asyncio.shield(self.future)
        except Exception as failure:
            return FailedInput(failure)

    async def texts(self) -> AsyncIterator[str]:
        """The pieces of a text as they come; raises like `get`. For one reader."""
        told = 0
        while (piece := await self._texts.get()) is not None:
            told += len(piece)
            yield piece
        text = await self.get()
        if len(text) > told:  # by an engine that does not stream
            yield text[told:]

    def settle(self, value: Any) -> None:
        if isinstance(value, Context):
            self._context = value
            self._owner.own(value)
        if not self.future.done():
            self.future.set_result(value)
            self._texts.put_nowait(None)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # nobody has to await it
            self._texts.put_nowait(None)

    def cancel(self) -> None:
        self.future.cancel()
        self._texts.put_nowait(None)

    def add_text(self, piece: str) -> None:
        self._texts.put_nowait(piece)

    def __del__(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            self._owner.disown(context)


def outputs_to(
    pending: Mapping[str, Pending],
    on_effect_error: Callable[[QueryError], None],
    final: Collection[str],
    streamed: Collection[str],
) -> Outputs:
    """What a query tells of its outputs, from the engines' loop to the app's."""
    loop = asyncio.get_running_loop()

    def on_value(name: str, value: Any) -> None:
        try:
            loop.call_soon_threadsafe(pending[name].settle, value)
        except (KeyError, RuntimeError):  # nobody waits: it was cancelled, or its loop is closed
            if isinstance(value, Context):
                value.release()

    def on_text(name: str, piece: str) -> None:
        if name in streamed:
            with suppress(KeyError, RuntimeError):
                loop.call_soon_threadsafe(pending[name].add_text, piece)

    def on_error(name: str, error: QueryError) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_fail, pending, name, error)

    def on_lost(error: QueryError) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(on_effect_error, error)

    return Outputs(on_value, on_error, on_lost, on_text if streamed else None, final=final)


def _fail(pending: Mapping[str, Pending], name: str, error: QueryError) -> None:
    if name in pending:  # somebody still waits
        pending[name].fail(error)
