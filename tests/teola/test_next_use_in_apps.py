"""Apps whose contexts overflow the KV pool: what their graphs will read is kept."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from teola.virtual import on_virtual_clock, run_virtually

NAMES = ("Ann", "Bob", "Cid", "Dee", "Eve", "Fay")


def notes_of(name: str, num_facts: int = 60) -> str:
    facts = " ".join(f"{name} knows fact {number}." for number in range(num_facts))
    return f"You are {name}. {facts}"


def panel_of(llm: tl.LLM, num_experts: int) -> Any:
    """Experts who speak in turn, each with a context of its own."""

    @tl.app
    def panel(question: str, notes: list[str], rounds: int = 3) -> str:
        experts = []
        for index in range(num_experts):
            expert = tl.State(llm)
            expert += tl.system(notes[index])
            experts.append(expert)
        said: Any = question
        for number in range(rounds):
            for expert in experts:
                expert += tl.user(f"Reply to: {said}")
                expert += tl.assistant(tl.gen(f"r{number}", max_tokens=6))
                said = expert[f"r{number}"]
        return said  # type: ignore[no-any-return]

    return panel


def prefilled(events: Iterable[Event]) -> int:
    return sum(event.fields["prefill_tokens"] for event in events if event.kind == "end")


def run_panel(
    eviction: str, url: str, run: Callable[..., Any], num_experts: int = 4, **options: Any
) -> tuple[Any, int]:
    events: list[Event] = []
    panel = panel_of(tl.LLM(url, eviction=eviction, **options), num_experts)
    result = run(
        panel.using(listener=events.append),
        "why?",
        [notes_of(name) for name in NAMES[:num_experts]],
    )
    return result, prefilled(events)


def on_emulated(
    eviction: str, kv_tokens: int, device: str = "h100", num_experts: int = 4
) -> tuple[Any, int]:
    def run(app: Any, *args: Any) -> Any:
        return run_virtually(app, *args).result

    return run_panel(
        eviction, f"emulated:{device}/llama-3.1-8b", run, num_experts, kv_tokens=kv_tokens
    )


@pytest.mark.parametrize("kv_tokens", [1200, 1600])
def test_experts_who_speak_in_turn_find_more_of_what_they_said(kv_tokens: int) -> None:
    lru, next_use = (on_emulated(eviction, kv_tokens) for eviction in ("lru", "next_use"))
    _, least = on_emulated("lru", 16_384)
    print(f"{kv_tokens}: prefilled {lru[1]} by lru, {next_use[1]} by next_use, {least} with room")
    assert next_use[0] == lru[0]
    assert next_use[1] - least < 0.8 * (lru[1] - least)


def test_instances_behind_one_name_are_told_each() -> None:
    lru, next_use = (on_emulated(eviction, 1100, "2xh100", 6) for eviction in ("lru", "next_use"))
    assert next_use[0] == lru[0]
    assert next_use[1] < lru[1]


def test_with_room_for_all_the_order_changes_nothing() -> None:
    assert on_emulated("lru", 16_384) == on_emulated("next_use", 16_384)


@pytest.mark.model
def test_on_a_model_what_the_graph_reads_is_kept_and_answers_are_equal() -> None:
    found = {
        eviction: run_panel(
            eviction,
            "local:smollm2-135m",
            lambda app, *args: app(*args),
            kv_tokens=1600,
            context_len=1024,
        )
        for eviction in ("lru", "next_use")
    }
    print({eviction: num_prefilled for eviction, (_, num_prefilled) in found.items()})
    assert found["next_use"][0] == found["lru"][0]
    assert found["next_use"][1] < found["lru"][1]


@pytest.mark.model
def test_with_a_tier_below_nothing_is_computed_twice_and_answers_are_equal() -> None:
    def run(eviction: str, **options: Any) -> tuple[Any, int]:
        options |= {"kv_tokens": 1056, "context_len": 1024, "dtype": "float32"}
        url = "local:smollm2-135m"
        return run_panel(eviction, url, lambda app, *args: app(*args, rounds=2), 3, **options)

    without, below = run("lru"), run("next_use", host_kv_tokens=8192)
    print(f"prefilled {without[1]} without a tier, {below[1]} with one")
    assert below[0] == without[0]
    assert below[1] < without[1]


@pytest.mark.model
def test_an_engine_in_a_process_of_its_own_is_told_what_the_graph_reads() -> None:
    options = {"kv_tokens": 1600, "context_len": 1024}
    url = "process:local:smollm2-135m"
    found = {
        eviction: run_panel(eviction, url, lambda app, *args: app(*args), **options)
        for eviction in ("lru", "next_use")
    }
    print({eviction: num_prefilled for eviction, (_, num_prefilled) in found.items()})
    assert found["next_use"][0] == found["lru"][0]
    assert found["next_use"][1] < found["lru"][1]


def sessions(eviction: str) -> tuple[list[str], int]:
    """Chats with tools of which some are slow, more than the pool holds."""
    llm = tl.LLM("emulated:h100/llama-3.1-8b", eviction=eviction, kv_tokens=3000, output_tokens=16)

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
        chat = tl.Chat(llm, system=notes_of(name, 80))
        said = "Begin."
        for _ in range(2 if is_slow else 5):
            said = await chat.ask(said)
            said = await tl.value(slow(said) if is_slow else quick(said))
        return said

    events: list[Event] = []

    async def one(number: int) -> str:
        await asyncio.sleep(0.35 * number)
        app = work.using(listener=events.append)
        return await app.arun(f"agent {number}", number % 3 == 0)

    async def main() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(12)))

    return on_virtual_clock(main), prefilled(events)


def test_a_slow_tool_does_not_push_out_the_contexts_of_quick_ones() -> None:
    lru, next_use = sessions("lru"), sessions("next_use")
    print(f"prefilled {lru[1]} by lru, {next_use[1]} by next_use")
    assert next_use[0] == lru[0]
    assert next_use[1] < lru[1]
