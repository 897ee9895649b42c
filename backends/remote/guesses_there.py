"""Guesses at a server: it is told when somebody waits for one, which then is like any other
request."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from backends.errors import ConfigError, EngineError
from backends.place import Left, Place
from backends.remote.place_fields import guess_name

Tell = Callable[[Mapping[str, Any]], Awaitable[None]]


class _Changed(set[Left]):
    """What a `Left` puts itself into, from any thread."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change

    def add(self, left: Left) -> None:
        super().add(left)
        self._on_change()


class GuessesThere:
    """Those under way at one server."""

    def __init__(self, tell: Tell) -> None:
        """`tell` sends words. Raises EngineError where that fails."""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._under_way: Counter[Left] = Counter()
        self._changed = _Changed(self._look_soon)
        self._telling: set[asyncio.Task[None]] = set()

    @contextmanager
    def under_way(self, place: Place | None) -> Iterator[None]:
        """While a request is at the server."""
        left = None if place is None else place.left
        if left is None or not left.is_guess:
            yield
            return
        self._under_way[left] += 1
        left.tell(self._changed)
        try:
            yield
        finally:
            self._under_way[left] -= 1
            if not self._under_way[left]:
                self._forget(left)

    async def close(self) -> None:
        """Tell nothing more."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    def _look_soon(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._changed.clear()
        wanted = [left for left in self._under_way if not left.is_guess]
        for left in wanted:
            self._forget(left)
        if wanted:
            names = [guess_name(left) for left in wanted]
            task = asyncio.create_task(self._tell_wanted(names), name="words on guesses")
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell_wanted(self, names: list[str]) -> None:
        with suppress(EngineError, ConfigError):  # it ends all the same, behind others
            await self._tell({"wanted": names})

    def _forget(self, left: Left) -> None:
        del self._under_way[left]
        left.tell_no_more(self._changed)
