"""Work that would hold the event loop, on a thread: digests and copies of large values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

import numpy as np

from backends.documents import Doc

T = TypeVar("T")

MOST_ITEMS = 500  # that the loop itself looks through: a millisecond, about
MOST_BYTES = 500_000


def aside(work: Callable[[], T], then: Callable[[T], None], where: Executor | None = None) -> None:
    """Do the work on a thread, and go on with what it gives on the running loop."""
    future = asyncio.get_running_loop().run_in_executor(where, work)
    future.add_done_callback(lambda done: then(done.result()))


def is_large(value: Any) -> bool:
    """Whether it takes more than a moment to look through all of a value."""
    num_items, num_bytes, waiting = 0, 0, [value]
    while waiting and num_items <= MOST_ITEMS and num_bytes <= MOST_BYTES:
        value = waiting.pop()
        num_items += 1
        if isinstance(value, (str, bytes)):
            num_bytes += len(value)
        elif isinstance(value, np.ndarray):
            num_bytes += value.nbytes
        elif isinstance(value, Doc):
            waiting += (value.text, value.metadata)
        elif isinstance(value, (list, tuple, Mapping)):
            num_items += len(value)
            if num_items <= MOST_ITEMS:
                waiting += value.values() if isinstance(value, Mapping) else value
    return num_items > MOST_ITEMS or num_bytes > MOST_BYTES
