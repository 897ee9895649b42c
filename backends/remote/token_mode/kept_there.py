"""Which contexts a server keeps for this client, and until when: teola's server with `next_use`.

A context is token ids here. The server keeps its KV under a name, and what it is told of the name:
when it is read next, and that nobody here can read it any more. These words go with the next
request, or a moment later by themselves where none comes.

    prompt    |------ read ------|- head -|-- own --|      `contexts` of a request: the kept context
    answer                                          |-->    that it goes on from, the begin that is
                                                            to be kept too, and what it leaves
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from backends.errors import ConfigError, EngineError
from backends.remote.token_mode.context import TokenContext
from backends.request_limits import MAX_PLACE_S, MAX_TOLD

CHANGE = 0.2  # a word is not said again that is off by so much of itself,
LEAST_S = 0.05  # and by so many seconds
READ_SOON_S = 0.02  # until a word on the next read goes by itself
CLOSE_S = 1.0  # that the last word may take
GONE_S = 0.25  # until one of a context that is gone does

Tell = Callable[[Mapping[str, Any]], Awaitable[None]]


class Kept:
    """A context at a server, until no context here goes on from it."""

    __slots__ = ("__weakref__", "due_s", "name", "num_tokens")

    def __init__(self, name: str, num_tokens: int) -> None:
        self.name = name
        self.num_tokens = num_tokens
        self.due_s: float | None = None  # when it is read, as the server was told


@dataclass(slots=True)
class Reading:
    """One request: what it reads stays there until it ends."""

    fields: dict[str, Any]  # `contexts` of its body
    read: Kept | None
    left: Kept
    next_read_s: float | None  # from its end until the context that it leaves is read


class KeptThere:
    """Of one server. Made and used on its loop, but for `expect` and the ends of contexts."""

    def __init__(self, tell: Tell) -> None:
        """`tell` sends words by themselves. Raises EngineError where that fails."""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._due: weakref.WeakKeyDictionary[TokenContext, float] = weakref.WeakKeyDictionary()
        self._expected: dict[str, float] = {}  # when, by name: not told yet
        self._gone: deque[str] = deque()  # filled by any thread
        self._there: weakref.WeakSet[Kept] = weakref.WeakSet()
        self._prefix = uuid4().hex[:12]
        self._num_names = 0
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """See `backends.base.Expecting`."""
        now_s = self._loop.time()
        dues = [(each, now_s + after_s) for each, after_s in uses if isinstance(each, TokenContext)]
        self._on_loop(self._note, dues)

    def reading(
        self, prompt: TokenContext, given: object, next_read_s: float | None = None
    ) -> Reading:
        """A request for the prompt, which goes on from a context that was `given`; what it leaves
        is read so long after its end. Hold what comes until the request has ended."""
        read = prompt.kept.get(self)
        fields: dict[str, Any] = {} if read is None else {"reads": read.name}
        if isinstance(given, TokenContext) and self._is_read_again(given):
            head = self._kept(given.num_tokens)
            given.kept[self] = prompt.kept[self] = head
            self._there.add(head)
            read_in_s = self._seconds(self._due[given])
            named = {"name": head.name, "num_tokens": head.num_tokens}
            fields["head"] = {**named, "read_in_s": read_in_s}
        left = self._kept(0)
        fields["keeps"] = left.name
        if next_read_s is not None:
            fields["read_in_s"] = next_read_s = round(min(next_read_s, MAX_PLACE_S), 6)
        return Reading({**fields, **self._words()}, read, left, next_read_s)

    def left(self, reading: Reading, context: TokenContext) -> None:
        """The request ended, and this is what the server keeps of it."""
        self._there.add(reading.left)
        reading.left.num_tokens = context.num_tokens
        if reading.next_read_s is not None:
            reading.left.due_s = self._loop.time() + reading.next_read_s
        context.kept[self] = reading.left

    async def close(self) -> None:
        """Let the server release what it keeps, and tell nothing more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        if names := [*self._gone, *(kept.name for kept in self._there)]:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._tell_words({"released": names[:MAX_TOLD]})

    def _is_read_again(self, given: TokenContext) -> bool:
        """Whether it will be, behind this time, and is not kept yet."""
        kept = given.kept.get(self)
        is_there = kept is not None and kept.num_tokens == given.num_tokens
        return given.num_tokens > 0 and not is_there and given in self._due

    def _note(self, dues: Sequence[tuple[TokenContext, float]]) -> None:
        for context, due_s in dues:
            self._due[context] = due_s
            kept = context.kept.get(self)
            if kept is not None and not self._is_told(kept, due_s):
                kept.due_s = self._expected[kept.name] = due_s  # or what it goes on from is there
        if self._expected:
            self._tell_in(READ_SOON_S)

    def _is_told(self, kept: Kept, due_s: float) -> bool:
        off_s = LEAST_S + CHANGE * abs(due_s - self._loop.time())
        return kept.due_s is not None and abs(due_s - kept.due_s) <= off_s

    def _kept(self, num_tokens: int) -> Kept:
        self._num_names += 1
        kept = Kept(f"{self._prefix}.{self._num_names}", num_tokens)
        weakref.finalize(kept, self._is_gone, kept.name).atexit = False
        return kept

    def _is_gone(self, name: str) -> None:
        self._gone.append(name)
        if len(self._gone) == 1:
            self._on_loop(self._tell_in, GONE_S)

    def _on_loop(self, call: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the engine with it
            self._loop.call_soon_threadsafe(call, *args)

    def _tell_in(self, pause_s: float) -> None:
        """At the latest."""
        at_s = self._loop.time() + pause_s
        if self._is_closed or (self._timer is not None and self._timer.when() <= at_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at_s, self._tell_now)

    def _tell_now(self) -> None:
        self._timer = None
        if words := self._words():
            task = asyncio.create_task(self._tell_words(words), name="words on kept contexts")
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell_words(self, words: Mapping[str, Any]) -> None:
        with suppress(EngineError, ConfigError):  # the server forgets by itself
            await self._tell(words)

    def _words(self) -> dict[str, Any]:
        """Take what is to be told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        names = list(self._expected)[:MAX_TOLD]
        expected = {name: self._seconds(self._expected.pop(name)) for name in names}
        released = [self._gone.popleft() for _ in range(min(len(self._gone), MAX_TOLD))]
        if self._expected or self._gone:
            self._tell_in(READ_SOON_S)
        found = {"expected": expected, "released": released}
        return {name: words for name, words in found.items() if words}

    def _seconds(self, due_s: float) -> float:
        return round(min(max(0.0, due_s - self._loop.time()), MAX_PLACE_S), 6)
