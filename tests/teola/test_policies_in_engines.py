"""What an app asks for orders the steps of its engines too, and not only what waits before them."""

import asyncio
from typing import Any

import teola as tl
from runtime.clock import now
from teola.virtual import on_virtual_clock

llm = tl.LLM(
    "emulated:h100/llama-3.1-8b",
    tokenizer="bytes",
    output_tokens=4,
    token_budget=256,
    max_running=8,
)


@tl.prompt(llm, max_tokens=8)
def summary(text: str) -> str:
    return f"Sum up: {text}"


@tl.app
def summarize(text: str) -> str:
    return summary(text)


@tl.app
def summarize_all(texts: list[str]) -> list[str]:
    return tl.map(summary, texts)


def seconds_beside(app: Any, arguments: list[Any], late: Any, **options: Any) -> float:
    """How long a late call takes beside those that run; none waits before the engine."""

    async def one() -> float:
        await asyncio.sleep(0.03)
        began_s = now()
        await late.arun("Now?")
        return now() - began_s

    async def main() -> float:
        long = (app.using(memo=False, **options).arun(each) for each in arguments)
        seconds, *_ = await asyncio.gather(one(), *long)
        return seconds

    return on_virtual_clock(main)


LONG = [f"{number} " * 2000 for number in range(6)]


def with_policy(policy: str | None, *, pinned: bool = False) -> float:
    engines = {"llm": f"{llm.spec.url}?policy=fcfs&{OPTIONS}"} if pinned else {}
    options: dict[str, Any] = {"memo": False, "policy": policy, "engines": engines}
    late = summarize.using(deadline_s=0.1 if policy == "least_slack" else None, **options)
    return seconds_beside(summarize, LONG, late, policy=policy, engines=engines)


OPTIONS = "tokenizer=bytes&output_tokens=4&token_budget=256&max_running=8"


def test_a_call_with_a_deadline_overtakes_inside_the_engine_where_the_app_asks_for_slack() -> None:
    assert with_policy("least_slack") < 0.5 * with_policy("fcfs")


def test_an_engine_with_an_order_of_its_own_keeps_it() -> None:
    assert with_policy("least_slack", pinned=True) == with_policy("fcfs")


def test_by_default_a_short_query_overtakes_a_map_of_many_items_inside_the_engine() -> None:
    def seconds(policy: str | None) -> float:
        late = summarize.using(memo=False, policy=policy)
        return seconds_beside(summarize_all, [LONG], late, policy=policy)

    assert seconds(None) < 0.5 * seconds("fcfs")


one_slot = tl.LLM("fake:", num_slots=1, latency_s=0.02, max_batch_items=1)


@tl.prompt(one_slot, max_tokens=5)
def ask(text: str) -> str:
    return f"Q {text}"


@tl.app
def two(text: str) -> str:
    return ask(ask(text))


@tl.app
def ask_all(texts: list[str]) -> list[str]:
    return tl.map(ask, texts)


def test_a_query_of_two_calls_is_not_behind_all_items_of_a_wide_map() -> None:
    """Each item is near its end, but the map is not: its items count, those to come too."""

    def seconds(policy: str) -> float:
        late = two.using(memo=False, policy=policy)
        return seconds_beside(ask_all, [[f"{i}" for i in range(60)]], late, policy=policy)

    by_arrival = seconds("fcfs")
    assert seconds("application_aware") <= by_arrival
    assert seconds("shortest_remaining") <= by_arrival
