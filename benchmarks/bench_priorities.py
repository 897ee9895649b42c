"""A short query behind a long one at a server with one slot: what the policy's order is worth.

    teola engine start vllm --model smollm2-135m --port 8000 -- --max-num-seqs 1 --enforce-eager
    python -m benchmarks.bench_priorities vllm://localhost:8000/smollm2-135m?tokenizer=smollm2-135m

`--repeats` rounds, each with `order="policy"` and with `order="class"`: a query of ten calls side
by side, and one of one call 0.3 s later. The last line is JSON.
"""

import argparse
import asyncio
import json
from statistics import median
from time import perf_counter

import teola as tl

WAIT_S = 0.3
ORDERS = ("policy", "class")


def apps_on(url: str, order: str) -> tuple[tl.App[[list[str]], list[str]], tl.App[[str], str]]:
    """A query of many calls, and one of one."""
    llm = tl.LLM(url, order=order)

    @tl.prompt(llm, max_tokens=24)
    def say(text: str) -> str:
        return text

    @tl.app
    def long(texts: list[str]) -> list[str]:
        return tl.map(say, texts)

    @tl.app
    def short(text: str) -> str:
        return say(text)

    return long.using(memo=False), short.using(memo=False)


async def one_round(url: str, order: str) -> tuple[float, float]:
    """Seconds of the long query, and of the short one."""
    long, short = apps_on(url, order)
    await short.arun("Warm")

    async def timed(work: asyncio.Future[object]) -> float:
        began_s = perf_counter()
        await work
        return perf_counter() - began_s

    texts = [f"Tell me of the number {number}." for number in range(10)]
    first = asyncio.create_task(timed(asyncio.ensure_future(long.arun(texts))))
    await asyncio.sleep(WAIT_S)
    second = await timed(asyncio.ensure_future(short.arun("What is a river?")))
    return await first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {order: [] for order in ORDERS}
    for _ in range(given.repeats):
        for order in ORDERS:
            found[order].append(asyncio.run(one_round(given.url, order)))
    rows = {
        order: {
            "long_s": median(row[0] for row in rounds),
            "short_s": median(row[1] for row in rounds),
        }
        for order, rounds in found.items()
    }
    for order, row in rows.items():
        print(f"{order:8} long {row['long_s']:6.2f} s   short {row['short_s']:6.2f} s")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
