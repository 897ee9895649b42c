"""The coding team's calls made one query each: what a program on an engine's endpoint does.

The calls are those of `samples/coding_team.py`, token for token, in the same order of stages.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import teola as tl
from runtime.events import Event
from samples.coding_team import Team, outline, program

MEMBERS = ("specify", "design", "write", "review", "rewrite")

_salts = count()


def fresh_salt() -> str:
    """A cache namespace that nobody had: what is in it was computed for who asks."""
    return f"bench_teams {next(_salts)}"


@dataclass
class Work:
    """Tokens of a run, and of all its calls together."""

    prefilled: int = 0
    cached: int = 0
    decoded: int = 0

    def hear(self, event: Event) -> None:
        if event.kind == "end":
            self.prefilled += event.fields["prefill_tokens"]
            self.cached += event.fields["cached_tokens"]
            self.decoded += event.fields["decode_tokens"]


@dataclass
class Client:
    """Calls a team's members. `shares` says whether calls find the KV of those before them."""

    team: Team
    num_files: int
    rounds: int
    shares: bool
    side_by_side: bool
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        self._salt = fresh_salt()
        self._apps: dict[str, Any] = {name: tl.app(getattr(self.team, name)) for name in MEMBERS}

    async def build(self, task: str) -> str:
        """The program that the team writes."""
        needs = await self._call("specify", task)
        files = await self._call("design", task, needs)
        project = (task, needs, outline(files))
        sources = await self._stage("write", [project] * self.num_files)
        for _ in range(self.rounds):
            code = (*project, program(files, sources))
            remarks = await self._stage("review", [code] * self.num_files)
            sources = await self._stage("rewrite", [code] * self.num_files, remarks)
        return program(files, sources)

    async def _stage(
        self, name: str, heads: Sequence[tuple[str, ...]], remarks: Sequence[str] = ()
    ) -> list[str]:
        """A call for each file."""
        tails = [(remark,) for remark in remarks] or [()] * len(heads)
        calls = [
            self._call(name, *head, number, *tail)
            for number, (head, tail) in enumerate(zip(heads, tails, strict=True), 1)
        ]
        return await asyncio.gather(*calls) if self.side_by_side else [await c for c in calls]

    async def _call(self, name: str, *args: Any) -> Any:
        salt = self._salt if self.shares else fresh_salt()
        app = self._apps[name].using(salt=salt, memo=False, listener=self.work.hear)
        return await app.arun(*args)
