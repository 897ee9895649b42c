"""Contexts that overflow the KV pool: eviction by what graphs read next, beside other orders.

    python benchmarks/bench_next_use.py [--url emulated:h100/llama-3.1-8b]

`panel`: six experts speak in turn, each with notes and a context of its own; one graph. `tools`:
chats whose tools take 0.3 s or 6 s, in `async def` apps. All in virtual time on an emulated device;
answers do not depend on the order. `over` is what was computed beyond what an endless pool
computes. `oracle` is Belady's order with the future known: the sequences of the endless run, one
after another and none beside it, which no order of a real pool reaches. The last line is JSON.
"""

import argparse
import asyncio
import heapq
import json
import statistics
import sys
from collections import defaultdict
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


@contextmanager
def recorded() -> Iterator[list[tuple[Pages, int]]]:
    """The sequences that end within: their whole pages, and how many are of the prompt."""
    found: list[tuple[Pages, int]] = []
    remove = BatchPlanner.remove

    def note(planner: BatchPlanner, sequence: Any) -> None:
        name, pages = 0, []
        for start in range(0, len(sequence.ids) - PAGE, PAGE):
            name = hash((name, *sequence.ids[start : start + PAGE]))
            pages.append(name)
        found.append((pages, (sequence.num_prompt - 1) // PAGE))
        remove(planner, sequence)

    BatchPlanner.remove = note  # type: ignore[method-assign]
    try:
        yield found
    finally:
        BatchPlanner.remove = remove  # type: ignore[method-assign]


def oracle(sequences: Sequence[tuple[Pages, int]], num_pages: int) -> int:
    """Fewest tokens computed again when they run one after another: what is read last goes."""
    uses: dict[int, list[int]] = defaultdict(list)
    for number, (pages, _) in reversed(list(enumerate(sequences))):
        for page in pages:
            uses[page].append(number)  # the next one last
    held: set[int] = set()
    known: set[int] = set()
    order: list[tuple[int, int]] = []  # (less the next use, page)
    over = 0
    for pages, num_prompt in sequences:
        over += PAGE * sum(page in known and page not in held for page in pages[:num_prompt])
        for page in pages:
            uses[page].pop()
            if uses[page]:
                held.add(page)
                heapq.heappush(order, (-uses[page][-1], page))
            else:
                held.discard(page)
        known.update(pages)
        while len(held) > num_pages:
            _, page = heapq.heappop(order)
            held.discard(page)
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
    table = Table("load", "pool", "endless", *POLICIES, "oracle", title="tokens over, mean seconds")
    rows: list[dict[str, Any]] = []
    for load in LOADS:
        name = load.make.__name__
        with recorded() as sequences:
            least = run(load, args.url, "lru", ENDLESS)
        for kv_tokens in load.pools:
            row: dict[str, Any] = {"load": name, "pool": kv_tokens}
            row["endless_s"] = round(least["mean_s"], 3)
            cells = []
            for eviction in POLICIES:
                found = run(load, args.url, eviction, kv_tokens)
                assert found["answers"] == least["answers"], "an order changed an answer"
                over = found["prefilled"] - least["prefilled"]
                row[eviction] = {"over": over, "mean_s": round(found["mean_s"], 3)}
                cells.append(f"{over:,}, {found['mean_s']:.2f} s")
            row["oracle"] = oracle(sequences, kv_tokens // PAGE)
            cells.append(f"{row['oracle']:,}")
            table.add_row(name, f"{kv_tokens:,}", f"{least['mean_s']:.2f} s", *cells)
            rows.append(row)
    Console(width=140).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
