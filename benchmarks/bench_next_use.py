"""Contexts that overflow the KV pool: eviction by what graphs read next, beside other orders.

    python benchmarks/bench_next_use.py [--url emulated:h100/llama-3.1-8b]

`panel`: six experts speak in turn, each with notes and a context of its own; one graph. `tools`:
chats whose tools take 0.3 s or 6 s, in `async def` apps. All in virtual time on an emulated device;
answers do not depend on the order. `over` is what was computed beyond what an endless pool
computes. Two oracles order by Belady, with the future known. `oracle`: the sequences of the endless
run, one after another and none beside it, which no order of a real pool reaches. `beside`: those of
the run under `next_use`, begun and ended as they were there; the pages of what runs stay, all of
them from its beginning on. The last line is JSON.
"""

import argparse
import asyncio
import heapq
import json
import math
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import teola as tl
from backends.llm.kv.eviction import POLICIES, EvictionName
from backends.llm.planner.planner import BatchPlanner
from runtime.clock import now
from runtime.events import Event
from teola.virtual import on_virtual_clock

ENDLESS = 1 << 20  # tokens
PAGE = 16  # tokens
Pages = list[int]  # a name each, which stands for all tokens up to its end


def notes_of(name: str, num_facts: int) -> str:
    return f"You are {name}. " + " ".join(f"{name} knows fact {i}." for i in range(num_facts))


def panel(llm: tl.LLM) -> Callable[[int], Any]:
    """Experts who speak in turn."""

    @tl.app
    def talk(question: str, notes: list[str], rounds: int = 4) -> str:
        experts = []
        for index in range(6):
            expert = tl.State(llm)
            expert += tl.system(notes[index])
            experts.append(expert)
        said: Any = question
        for number in range(rounds):
            for expert in experts:
                expert += tl.user(f"Reply to: {said}")
                expert += tl.assistant(tl.gen(f"r{number}", max_tokens=16))
                said = expert[f"r{number}"]
        return said  # type: ignore[no-any-return]

    def call(number: int) -> Any:
        return talk, (f"Why {number}?", [notes_of(f"expert {number}{i}", 200) for i in range(6)])

    return call


def tools(llm: tl.LLM) -> Callable[[int], Any]:
    """Chats with tools, every third one with a slow one."""

    @tl.tool(pure=False)
    async def quick(text: str) -> str:
        await asyncio.sleep(0.3)
        return text[:20]

    @tl.tool(pure=False)
    async def slow(text: str) -> str:
        await asyncio.sleep(6.0)
        return text[:20]

    @tl.app
    async def work(name: str, is_slow: bool) -> str:
        chat = tl.Chat(llm, system=notes_of(name, 200))
        said = "Begin."
        for _ in range(3 if is_slow else 8):
            said = await chat.ask(said)
            said = await tl.value(slow(said) if is_slow else quick(said))
        return said

    return lambda number: (work, (f"agent {number}", number % 3 == 0))


@dataclass(frozen=True, slots=True)
class Load:
    make: Callable[[tl.LLM], Callable[[int], Any]]
    num_queries: int
    gap_s: float  # between their arrivals
    pools: tuple[int, ...]  # tokens


LOADS = (
    Load(panel, 3, 1.0, (12_000, 24_000, 36_000)),
    Load(tools, 24, 0.35, (6000, 10_000, 14_000)),
)


@dataclass(slots=True, eq=False)
class Ran:
    """A sequence that ended: its whole pages, and those of the prompt."""

    pages: Pages
    prompt: Pages


Moment = tuple[bool, Ran]  # whether it begins, else it ends


@contextmanager
def recorded() -> Iterator[list[Moment]]:
    """Beginnings and ends of sequences within, in order; a preempted one has begun once."""
    moments: list[tuple[bool, Any]] = []
    found: list[Moment] = []
    begun: set[int] = set()
    start, remove = BatchPlanner._start, BatchPlanner.remove

    def note_start(planner: BatchPlanner, sequence: Any, step: Any) -> bool:
        is_begun = start(planner, sequence, step)
        if is_begun and id(sequence) not in begun:
            begun.add(id(sequence))
            moments.append((True, sequence))
        return is_begun

    def note_end(planner: BatchPlanner, sequence: Any) -> None:
        moments.append((False, sequence))
        remove(planner, sequence)

    BatchPlanner._start = note_start  # type: ignore[method-assign]
    BatchPlanner.remove = note_end  # type: ignore[method-assign]
    try:
        yield found
    finally:
        BatchPlanner._start = start  # type: ignore[method-assign]
        BatchPlanner.remove = remove  # type: ignore[method-assign]
    ran = {sequence: _ran(sequence) for begins, sequence in moments if not begins}
    found += [(begins, ran[sequence]) for begins, sequence in moments if sequence in ran]


def _ran(sequence: Any) -> Ran:
    name, pages = 0, []
    for start in range(0, len(sequence.ids) - PAGE, PAGE):
        name = hash((name, *sequence.ids[start : start + PAGE]))
        pages.append(name)
    return Ran(pages, pages[: (sequence.num_prompt - 1) // PAGE])


def one_by_one(moments: Sequence[Moment]) -> Iterator[Moment]:
    """The same sequences in the order of their ends, none beside another."""
    for begins, ran in moments:
        if not begins:
            yield True, ran
            yield False, ran


class Belady:
    """A pool whose order of eviction knows the future: of pages that nobody runs on, those go
    that are read last or no more."""

    def __init__(self, moments: Sequence[Moment], num_pages: int) -> None:
        self._uses: dict[int, list[int]] = defaultdict(list)  # the next one last
        for at, (begins, ran) in reversed(list(enumerate(moments))):
            for page in ran.prompt if begins else ():
                self._uses[page].append(at)
        self._num_pages = num_pages
        self._held: set[int] = set()
        self._known: set[int] = set()
        self._num_running: Counter[int] = Counter()  # a page

    def begin(self, ran: Ran) -> int:
        """How many tokens are computed again."""
        lost = sum(page in self._known and page not in self._held for page in ran.prompt)
        for page in ran.prompt:
            self._uses[page].pop()
        self._num_running.update(ran.pages)
        self._held.update(ran.pages)
        self._known.update(ran.pages)
        self._evict()
        return PAGE * lost

    def end(self, ran: Ran) -> None:
        self._num_running.subtract(ran.pages)
        self._evict()

    def _evict(self) -> None:
        num_over = len(self._held) - self._num_pages
        if num_over > 0:
            free = [page for page in self._held if not self._num_running[page]]
            self._held.difference_update(heapq.nlargest(num_over, free, self._next_use))

    def _next_use(self, page: int) -> float:
        uses = self._uses[page]
        return uses[-1] if uses else math.inf


def oracle(moments: Sequence[Moment], num_pages: int) -> int:
    """Fewest tokens computed again."""
    pool, over = Belady(moments, num_pages), 0
    for begins, ran in moments:
        if begins:
            over += pool.begin(ran)
        else:
            pool.end(ran)
    return over


def run(load: Load, url: str, eviction: EvictionName, kv_tokens: int) -> dict[str, Any]:
    events: list[Event] = []
    call = load.make(tl.LLM(url, eviction=eviction, kv_tokens=kv_tokens, output_tokens=16))
    seconds: list[float] = []

    async def one(number: int) -> str:
        await asyncio.sleep(load.gap_s * number)
        app, args = call(number)
        began_s = now()
        answer: str = await app.using(memo=False, listener=events.append).arun(*args)
        seconds.append(now() - began_s)
        return answer

    async def main() -> list[str]:
        return await asyncio.gather(*map(one, range(load.num_queries)))

    answers = on_virtual_clock(main)
    ends = [event.fields for event in events if event.kind == "end"]
    prefilled = sum(fields["prefill_tokens"] for fields in ends)
    return {"prefilled": prefilled, "mean_s": statistics.mean(seconds), "answers": answers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="emulated:h100/llama-3.1-8b")
    args = parser.parse_args()
    table = Table(
        "load", "pool", "endless", *POLICIES, "beside", "oracle", title="tokens over, mean seconds"
    )
    rows: list[dict[str, Any]] = []
    for load in LOADS:
        name = load.make.__name__
        with recorded() as endless:
            least = run(load, args.url, "lru", ENDLESS)
        for kv_tokens in load.pools:
            row: dict[str, Any] = {"load": name, "pool": kv_tokens}
            row["endless_s"] = round(least["mean_s"], 3)
            cells = []
            for eviction in POLICIES:
                with recorded() as moments:
                    found = run(load, args.url, eviction, kv_tokens)
                if eviction == "next_use":
                    row["beside"] = oracle(moments, kv_tokens // PAGE)
                assert found["answers"] == least["answers"], "an order changed an answer"
                over = found["prefilled"] - least["prefilled"]
                row[eviction] = {"over": over, "mean_s": round(found["mean_s"], 3)}
                cells.append(f"{over:,}, {found['mean_s']:.2f} s")
            row["oracle"] = oracle(list(one_by_one(endless)), kv_tokens // PAGE)
            cells += [f"{row['beside']:,}", f"{row['oracle']:,}"]
            table.add_row(name, f"{kv_tokens:,}", f"{least['mean_s']:.2f} s", *cells)
            rows.append(row)
    Console(width=140).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
