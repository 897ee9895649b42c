"""Constant heads of prompts, prefilled once and pinned at their engines.

The first query of a plan asks for them, in the background; all prompts that begin with one then
find its KV in the engine's prefix cache. The least recently used ones are released.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, cast

from backends.base import Context, Outcome, Pinning, Request, Result
from backends.errors import EngineError
from graph_opt.analysis.constant_heads import Head
from runtime.dispatch import new_request_id, prompt_parts
from runtime.engine_scheduler import EngineScheduler
from runtime.hints import Hint
from runtime.job import Job

MAX_HEADS = 64

Key = tuple[EngineScheduler, Head, str | None]


class PinnedHeads:
    """Owns the contexts of the heads. All methods are called on the event loop."""

    def __init__(self, max_heads: int = MAX_HEADS) -> None:
        self._max_heads = max_heads
        self._contexts: OrderedDict[Key, Context | None] = OrderedDict()  # None: on its way
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(
        self,
        heads: Collection[Head],
        schedulers: Mapping[str, EngineScheduler],
        salt: str | None = None,
    ) -> None:
        """Have the heads prefilled and pinned, where that did not happen and the engine can."""
        for head in heads:
            scheduler = schedulers[head.engine]
            if "pin" not in scheduler.engine.info.capabilities:
                continue
            key = (scheduler, replace(head, engine=""), salt)  # however an app calls the engine
            if key in self._contexts:
                self._contexts.move_to_end(key)
            else:
                self._contexts[key] = None
                self._prefill(key)
        while len(self._contexts) > self._max_heads:
            self._release(self._contexts.popitem(last=False)[1])

    def close(self) -> None:
        """Release all of them."""
        contexts, self._contexts = self._contexts, OrderedDict()
        for context in contexts.values():
            self._release(context)
        for task in self._tasks:
            task.cancel()

    def _prefill(self, key: Key) -> None:
        scheduler, head, salt = key
        is_client_side = "warm_up" in scheduler.engine.info.capabilities
        attrs: dict[str, Any] = {
            "adapter": head.adapter,
            "tools": head.tools and json.loads(head.tools),
            "cache_salt": salt,
            "ahead": True if is_client_side else None,
        }
        request = Request(
            new_request_id(),
            "prefill",
            (None, *prompt_parts(head.parts, {})),
            {name: value for name, value in attrs.items() if value is not None},
        )

        def on_done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                task = asyncio.get_running_loop().create_task(self._pin(key, outcome.outputs[0]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._contexts.pop(key, None)  # the next query asks again

        level = Hint(depth=1, level_s=0.0)
        scheduler.submit(Job(request, "heads", level, lambda _: None, on_done))

    async def _pin(self, key: Key, context: Context) -> None:
        try:
            await cast(Pinning, key[0].engine).pin(context)
        except EngineError:  # no room for more pins: it stays in the cache as all else does
            context.release()
            return
        if key in self._contexts:
            self._contexts[key] = context
        else:
            context.release()

    def _release(self, context: Context | None) -> None:
        if context is not None:
            context.release()
