"""Commands to the thread of an engine, and where they wait for it."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backends.base import Outcome
from backends.llm.requests.preparation_threads import Prepared
from backends.llm.stepped_core import SteppedCore
from backends.policy.base import Policy

LONGEST_SLEEP_S = 86_400.0  # threads cannot wait for any time


@dataclass(frozen=True, slots=True)
class Submit:
    """A request that was read, and the future of its outcome."""

    prepared: Prepared
    future: "asyncio.Future[Outcome]"
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class Call:
    """Something to do between two steps, and the future of its end."""

    run: Callable[[SteppedCore], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class Flush:
    """Forget cached prefixes."""


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Order steps by what queries ask for."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Abort:
    request_id: str


@dataclass(frozen=True, slots=True)
class Expect:
    """Contexts, and in how many seconds each is expected to be read."""

    uses: Sequence[tuple[Any, float]]


Command = Submit | Abort | Call | Expect | Flush | OrderBy


class Inbox:
    """Commands from any thread to the worker; once closed it takes none, so none is forgotten."""

    def __init__(self) -> None:
        self.wake = threading.Condition()
        self._commands: deque[Command] = deque()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def send(self, command: Command) -> bool:
        """Whether it will be looked at."""
        with self.wake:
            if self._is_closed:
                return False
            self._commands.append(command)
            self.wake.notify()
            return True

    def wait(self, has_work: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Sleep until there is something to do, or for the time; False when it was closed."""
        if timeout_s is not None:
            timeout_s = min(timeout_s, LONGEST_SLEEP_S)
        with self.wake:
            self.wake.wait_for(lambda: self._commands or has_work() or self._is_closed, timeout_s)
            return not self._is_closed

    def take(self) -> Command | None:
        """The oldest command; None when there is none."""
        return self._commands.popleft() if self._commands else None

    def close(self) -> None:
        with self.wake:
            self._is_closed = True
            self.wake.notify()
