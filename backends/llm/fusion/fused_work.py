"""A request with chunks that is under way: its parts are requests of their own at the engine."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from backends.base import Outcome, Request, Result, Usage
from backends.errors import EngineError
from backends.llm.fusion.link import Stage
from backends.llm.fusion.look import Look
from backends.llm.fusion.plans import Encoding
from backends.llm.fusion.record import Record
from backends.served import Served, longest_served, one_after_another

NOTHING = Usage()
USUALLY = Encoding()

Execute = Callable[[Request], Awaitable[Outcome]]


class FusedWork:
    """What its parts made and cost so far."""

    def __init__(
        self, execute: Execute, abort: Callable[[str], None], is_behind_prefix: bool
    ) -> None:
        """`is_behind_prefix`: chunks are encoded behind the prefix alone."""
        self._execute = execute
        self._abort = abort
        self._running: set[str] = set()  # ids of the prefills
        self._is_aborted = False
        self._is_behind_prefix = is_behind_prefix
        self.encoding: Encoding = USUALLY  # of chunks
        self.made: list[Result] = []  # whose contexts are not handed on
        self.prefix: Usage = NOTHING
        self.encoded: list[Usage] = []  # of chunks
        self.num_encoded = 0
        self.records: dict[str, Record] = {}  # of chunks from earlier prompts
        self.looks: list[tuple[Look, Result]] = []
        self._served: dict[str, Served] = {}  # by part; of all chunks the longest

    @property
    def is_usual(self) -> bool:
        """Whether the first chunk of the prompt is encoded where it stands."""
        return self._is_behind_prefix and self.encoding == USUALLY

    @property
    def served(self) -> Served | None:
        """How its parts were served, one after another."""
        return one_after_another(self._served.values()) if self._served else None

    def abort(self) -> None:
        """Stop what runs; nothing begins any more."""
        self._is_aborted = True
        for running in list(self._running):
            self._abort(running)

    def release(self) -> None:
        """Free the contexts that are not handed on."""
        for result in self.made:
            result.outputs[0].release()

    async def run(
        self, request: Request, name: str, *inputs: Any, stage: Stage | None = None
    ) -> Outcome:
        """Part `name` of the request; the last, without a name, is the request itself."""
        if self._is_aborted:
            return EngineError("the request was aborted")
        part_id = f"{name}.{request.id}" if name else request.id
        self._running.add(part_id)
        try:
            attrs = request.attrs if stage is None else {**request.attrs, "stage": stage}
            part = replace(request, id=part_id, inputs=inputs, attrs=attrs)
            outcome = await self._execute(part)
            self._note(name, outcome)
            return outcome
        except asyncio.CancelledError:
            self._abort(part_id)  # the engine knows no part by the request's id
            raise
        finally:
            self._running.discard(part_id)

    def _note(self, name: str, outcome: Outcome) -> None:
        """How a part was served; chunks run side by side."""
        if isinstance(outcome, Result) and outcome.served is not None:
            key = "chunks" if name[:1].isdigit() else name
            longest = longest_served((self._served.get(key), outcome.served))
            self._served[key] = longest or outcome.served
