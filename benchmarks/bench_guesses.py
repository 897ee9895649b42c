"""What guesses save and waste: a router and an app with a tool, by `speculate=`.

    python benchmarks/bench_guesses.py [--model emulated:h100/llama-3.1-8b] [--queries 200]
        [--apps router tool] [--rates 0 20] [--shares 0 0.1 0.5]

The router: a model judges a task, then one of three prompts answers it, in `tl.cond`s of a `def`
app. The tool app, an `async def` one: a model writes a turn, a pure tool takes 0.5 s, a model
answers behind 500 words of instructions. What a model says decides nothing: the route and the
argument of the tool come with the task, the usual ones in 85 % of them (seeded). Queries come one
after another (rate 0), and as a Poisson stream. An emulated model runs on the virtual clock,
another one on the wall clock. `wasted` is the share of the tokens, and of the seconds of tools,
that nobody asked for. The last line is JSON.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import teola as tl
from runtime.clock import now
from runtime.events import Event
from teola.virtual import on_virtual_clock

USUAL = 0.85
TOOL_S = 0.5
ROUTES = ("billing", "travel", "others")
RULES = "Rule: be brief and name the page of the handbook. " * 50


@tl.tool(pure=True)
def is_route(verdict: str, route: str, wanted: str) -> bool:
    return route == wanted and bool(verdict is not None)


@tl.tool(pure=True)
async def look_up(topic: str) -> str:
    await asyncio.sleep(TOOL_S)
    return f"The handbook says of {topic}: see page 7."


def router_of(llm: tl.LLM) -> Any:
    @tl.prompt(llm, max_tokens=48)
    def judge(task: str) -> str:
        return f"Who answers this, billing, travel or others? {task}"

    @tl.prompt(llm, max_tokens=48)
    def reply(kind: str, task: str) -> str:
        return f"{RULES} You answer on {kind}. {task}"

    @tl.app
    def router(task: str, route: str) -> str:
        verdict = judge(task)
        return tl.cond(
            is_route(verdict, route, ROUTES[0]),
            lambda: reply(ROUTES[0], task),
            lambda: tl.cond(
                is_route(verdict, route, ROUTES[1]),
                lambda: reply(ROUTES[1], task),
                lambda: reply(ROUTES[2], task),
            ),
        )

    return router


def tool_app_of(llm: tl.LLM) -> Any:
    @tl.prompt(llm, max_tokens=48)
    def think(task: str) -> str:
        return f"What is to be looked up? {task}"

    @tl.prompt(llm, max_tokens=48)
    def reply(task: str, facts: str) -> str:
        return f"{RULES} {task} {facts}"

    @tl.app
    async def helper(task: str, topic: str) -> str:
        await tl.value(think(task))
        facts = await tl.value(look_up(topic or task))
        return await tl.value(reply(task, facts))

    return helper


def tasks_of(kind: str, num_queries: int) -> list[tuple[str, str]]:
    chance = random.Random(7)
    found = []
    for number in range(num_queries):
        is_usual = chance.random() < USUAL
        if kind == "router":
            found.append((f"task {number}", ROUTES[0] if is_usual else chance.choice(ROUTES[1:])))
        else:
            found.append((f"task {number}", "" if is_usual else f"another topic {number}"))
    return found


async def served(app: Any, tasks: Sequence[tuple[str, str]], rate: float) -> list[float]:
    """Seconds of each query; with a rate of 0 one comes when the last has ended."""
    chance, seconds = random.Random(11), [0.0] * len(tasks)

    async def one(number: int) -> None:
        began_s = now()
        await app.arun(*tasks[number])
        seconds[number] = now() - began_s

    running = []
    for number in range(len(tasks)):
        if not rate:
            await one(number)
            continue
        running.append(asyncio.create_task(one(number)))
        await asyncio.sleep(chance.expovariate(rate))
    await asyncio.gather(*running)
    return seconds


def measured(app: Any, kind: str, share: float, args: Any, rate: float) -> dict[str, float]:
    events: list[Event] = []
    chosen = app.using(memo=False, speculate=share or None, listener=events.append)

    async def main() -> list[float]:
        await app.using(memo=False).arun("the first loads the engine", ROUTES[0])
        return await served(chosen, tasks_of(kind, args.queries), rate)

    seconds = _run(main, args.model)
    ends = [event.fields for event in events if event.kind == "end"]
    tokens = sum(f.get("prefill_tokens", 0) + f.get("decode_tokens", 0) for f in ends)
    wasted = sum(f.get("wasted_tokens", 0) for f in ends)
    wasted_s = sum(f.get("wasted_s", 0.0) for f in ends)
    return {
        "mean_s": round(statistics.mean(seconds), 4),
        "p95_s": round(sorted(seconds)[int(0.95 * len(seconds))], 4),
        "wasted": round(wasted / tokens, 4),
        "wasted_s": round(wasted_s / (wasted_s + TOOL_S * args.queries), 4),
    }


def _run(main: Callable[[], Awaitable[list[float]]], model: str) -> list[float]:
    if model.startswith(("emulated:", "fake:")):
        return on_virtual_clock(main)
    return asyncio.run(main())  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emulated:h100/llama-3.1-8b")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--apps", nargs="+", default=["router", "tool"])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 20.0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.5])
    args = parser.parse_args()
    is_emulated = args.model.startswith("emulated:")
    llm = tl.LLM(args.model, **({"output_tokens": 48} if is_emulated else {}))
    rows: dict[str, Any] = {}
    apps = {"router": router_of(llm), "tool": tool_app_of(llm)}
    for kind, app in ((kind, apps[kind]) for kind in args.apps):
        for rate in args.rates:
            for share in args.shares:
                name = f"{kind} {rate:g}/s {share:g}"
                rows[name] = measured(app, kind, share, args, rate)
                print(f"{name:24} {rows[name]}", flush=True)
    print(json.dumps({"model": args.model, "queries": args.queries, **rows}))


if __name__ == "__main__":
    main()
