"""Computes the KV of documents for an app's fused prompts, some documents at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from frontend_dsl.program import Program, Runner, RunOptions

ITEMS_TOGETHER = 64


class EncodeAhead:
    """Of one program and its options. Raises ConfigError where no prompt is fused behind a
    constant beginning."""

    def __init__(self, runner: Runner, program: Program, options: RunOptions) -> None:
        self._runner = runner
        self._program = runner.encoding(program, options)
        known = self._program.engines
        engines = {name: url for name, url in options.engines.items() if name in known}
        self._options = replace(options, engines=engines)

    def run(self, items: Iterable[Any]) -> int:
        """How many chunks were not there."""
        counts = (self._runner.run(self._program, part, self._options) for part in _parts(items))
        return sum(map(sum, counts))

    async def arun(self, items: Iterable[Any]) -> int:
        """`run`, awaited."""
        num_new = 0
        for part in _parts(items):
            num_new += sum(await self._runner.arun(self._program, part, self._options))
        return num_new


def _parts(items: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    waiting = iter(items)
    while part := list(islice(waiting, ITEMS_TOGETHER)):
        yield {"items": part}
