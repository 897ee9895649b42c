"""Runs of `async def` apps that guess: pure calls while a model writes, the prompts that follow."""

import asyncio
import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import teola as tl
from runtime.clock import now
from runtime.events import Event
from runtime.guess_budget import Spending, Spendings
from teola.virtual import on_virtual_clock

llm = tl.LLM("fake:", token_s=0.05, replies={"": "one two three four five six seven eight"})
done: list[str] = []


@tl.tool(pure=True)
async def look_up(text: str) -> str:
    done.append(f"look up {text}")
    await asyncio.sleep(0.3)
    return f"facts on {text}"


@tl.tool
async def send(text: str) -> str:
    done.append(f"send {text}")
    return f"sent {text}"


@tl.tool(reads=True)
async def read(text: str) -> str:
    done.append(f"read {text}")
    return f"read {text}"


@tl.prompt(llm, max_tokens=60)
def judge(text: str) -> str:
    return f"Is this a question? {text}"


@tl.prompt(llm, max_tokens=60)
def answer(text: str, facts: str) -> str:
    return f"You know the railways. Answer: {text} with {facts}"


@tl.app
async def ask(text: str) -> str:
    await tl.value(judge(text))
    facts = await tl.value(look_up("what?" if text == "who?" else text))
    return await tl.value(answer(text, facts))


def run_each(app: Any, inputs: list[tuple[Any, ...]]) -> list[tuple[Any, float]]:
    async def main() -> list[tuple[Any, float]]:
        found = []
        for each in inputs:
            began_s = now()
            found.append((await app.arun(*each), now() - began_s))
        return found

    return on_virtual_clock(main)


def with_and_without(
    app: Any, inputs: list[tuple[Any, ...]]
) -> tuple[list[float], list[float], list[Event]]:
    """Seconds of each run without guesses and with them, which give the same; the events."""
    events: list[Event] = []
    plain = run_each(app.using(memo=False), inputs)
    guessed = run_each(app.using(memo=False, speculate=0.5, listener=events.append), inputs)
    assert [result for result, _ in guessed] == [result for result, _ in plain]
    return [seconds for _, seconds in plain], [seconds for _, seconds in guessed], events


def wasted(events: list[Event]) -> list[tuple[str, Any]]:
    found = (e for e in events if e.kind == "end" and e.node.endswith(".ahead"))
    return [(e.node, e.fields.get("wasted_s", e.fields.get("wasted_tokens"))) for e in found]


def test_a_pure_call_that_followed_before_runs_while_the_model_writes() -> None:
    done.clear()
    plain, guessed, events = with_and_without(ask, [(f"why {n}?",) for n in range(6)])
    for number in range(6):
        expected = plain[number] - (0.3 if number >= 3 else 0.0)
        assert guessed[number] == pytest.approx(expected, abs=0.02)
    assert len(done) == 12  # none of them twice
    assert not [each for each in wasted(events) if each[0] == "look_up.ahead"]


def test_a_call_with_other_arguments_is_made_and_the_seconds_of_the_guess_are_counted() -> None:
    inputs = [(f"why {n}?",) for n in range(4)]
    plain, guessed, events = with_and_without(ask, [*inputs, ("who?",)])
    assert guessed[-1] == pytest.approx(plain[-1], abs=0.02)
    assert ("look_up.ahead", pytest.approx(0.3)) in wasted(events)


def test_a_tool_that_is_stopped_is_counted_also_where_work_is_remembered() -> None:
    @tl.tool(pure=True)
    async def slow(text: str) -> str:
        await asyncio.sleep(3.0)
        return text

    @tl.app
    async def maybe(text: str) -> str:
        await tl.value(judge(text))
        return await tl.value(judge(f"again {text}") if text == "who?" else slow(text))

    events: list[Event] = []
    app = maybe.using(speculate=0.5, listener=events.append)
    run_each(app, [*((f"why {n}?",) for n in range(5)), ("who?",)])
    assert wasted(events) == [("slow.ahead", pytest.approx(0.4))]


def test_effects_and_reads_of_the_world_wait_for_their_call() -> None:
    @tl.app
    async def tell(text: str) -> str:
        await tl.value(judge(text))
        note = await tl.value(read(text))
        return await tl.value(send(note))

    done.clear()
    inputs = [(f"{n}",) for n in range(6)]
    _, _, events = with_and_without(tell, inputs)
    assert done == [word for n in range(6) for word in (f"read {n}", f"send read {n}")] * 2
    assert not wasted(events)


def test_the_begin_of_a_likely_prompt_that_the_cache_lost_is_prefilled_ahead() -> None:
    small = tl.LLM("emulated:h100/llama-3.1-8b", output_tokens=40, kv_tokens=2048)

    @tl.prompt(small, max_tokens=40)
    def plan(text: str) -> str:
        return f"Plan: {text}"

    @tl.prompt(small, max_tokens=40)
    def write(text: str) -> str:
        return f"{'You write on railways. ' * 250} Write: {text}"

    @tl.prompt(small, max_tokens=4)
    def other(text: str) -> str:
        return f"{text} {'Other words fill the pool. ' * 300}"

    @tl.app
    async def essay(text: str) -> str:
        await tl.value(plan(text))
        return await tl.value(write(text))

    @tl.app
    def fill(text: str) -> str:
        return other(text)

    def cached(**options: Any) -> list[int]:
        events: list[Event] = []
        app = essay.using(memo=False, listener=events.append, **options)

        async def main() -> None:
            for number in range(6):
                await app.arun(f"line {number}")
                await fill.using(memo=False).arun(f"{number}")

        with patch("runtime.pinned_heads.MAX_HEADS", 0), patch("runtime.service.PinnedHeads.ask"):
            on_virtual_clock(main)
        ends = (e for e in events if e.kind == "end" and e.node == "write")
        return [e.fields["cached_tokens"] for e in ends]

    before, after = cached(), cached(speculate=0.5)
    assert max(before) < 300
    assert min(after[3:]) > 800


def called(name: str, **given: str) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': given})}</tool_call>"


def test_an_agents_tool_runs_while_the_model_writes_that_it_calls_it() -> None:
    replies = {
        r"<\|tool\|>": "It rains.",
        r"city: Rome": called("look_up", text="Rome"),
        r"city: Oslo": called("look_up", text="Oslo"),
        r"city: Bonn": called("look_up", text="Bonn am Rhein"),
    }
    model = tl.LLM("fake:", token_s=0.1, replies=replies)
    guide = tl.Agent("guide", model, instructions="Look it up.", tools=[look_up, send])

    @tl.app
    async def weather(city: str) -> str:
        return await tl.value(guide("How is the weather?", city=city))

    cities = ["Rome", "Oslo", "Rome", "Oslo", "Rome", "Bonn", "Rome"]
    done.clear()
    plain, guessed, _ = with_and_without(weather, [(city,) for city in cities])
    for number, city in enumerate(cities):
        is_guessed = number in (3, 4)
        assert guessed[number] < plain[number] - 0.2 if is_guessed else True, city
        assert guessed[number] <= plain[number] + 0.001
    assert done.count("look up Bonn am Rhein") == 2
    assert done.count("look up Bonn") == 1  # the guess


def test_a_tool_that_needs_approval_is_never_run_ahead_of_it() -> None:
    @tl.tool(pure=True, approval=True)
    async def secret(text: str) -> str:
        done.append(f"secret {text}")
        return "42"

    replies = {r"<\|tool\|>": "Done.", "": called("secret", text="it")}
    agent = tl.Agent("spy", tl.LLM("fake:", token_s=0.1, replies=replies), tools=[secret])
    asked: list[str] = []

    def approve(question: str, subject: Any) -> bool:
        assert len([each for each in done if each.startswith("secret")]) == len(asked)
        asked.append(question)
        return True

    done.clear()
    run_each(agent.using(memo=False, speculate=1.0, approve=approve), [("go",)] * 6)
    assert len(done) == len(asked) == 6


KINDS = ("ask", "look", "send", "read", "fail", "cond", "agent")
fast = tl.LLM(
    "fake:",
    token_s=0.01,
    replies={r"<\|tool\|>": "Found.", "City (.*)": called("look_up", text="city")},
)
helper = tl.Agent("helper", fast, instructions="City", tools=[look_up, send])


@tl.tool(pure=True)
async def broken(text: str) -> str:
    raise ValueError(f"broken {text}")


@tl.tool(pure=True)
def is_long(text: str) -> bool:
    return len(text) > 12


@tl.prompt(fast, max_tokens=8)
def write_on(text: str) -> str:
    return f"Write on {text}"


@tl.app
async def program(steps: list[list[Any]], text: str) -> list[str]:
    values: list[Any] = [text]
    tools: Any = {"ask": write_on, "look": look_up, "send": send, "read": read, "agent": helper}
    for kind, index in steps:
        value = values[index % len(values)]
        if kind == "cond":
            made: Any = tl.cond(
                is_long(value), lambda v=value: write_on(v), lambda v=value: look_up(v)
            )
        elif kind == "fail":
            made = broken(value)
        else:
            made = tools[kind](value)
        try:
            values.append(await tl.value(made))
        except ValueError as error:
            values.append(str(error))
    return values


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), min_size=1, max_size=6),
    st.lists(st.sampled_from(["a", "b", "a longer text than that"]), min_size=3, max_size=5),
)
def test_with_guesses_a_random_program_gives_the_same_with_the_same_effects(
    steps: list[tuple[str, int]], texts: list[str]
) -> None:
    def outcome(**options: Any) -> tuple[list[Any], list[str]]:
        done.clear()
        app = program.using(memo=False, **options)
        found = run_each(app, [([list(step) for step in steps], text) for text in texts])
        return [result for result, _ in found], [e for e in done if not e.startswith("look")]

    with (
        patch("runtime.step_history.MIN_SEEN", 1),
        patch("runtime.branch_history.MIN_SEEN", 1),
        patch.object(Spending, "may_begin", return_value=True),
    ):
        assert outcome(speculate=1.0) == outcome()


@tl.app
async def ask_twice(text: str) -> list[str]:
    await tl.value(judge(text))
    return await asyncio.gather(tl.value(look_up(text)), tl.value(look_up(text)))


@tl.app
async def map_twice(text: str) -> list[str]:
    await tl.value(judge(text))
    return await tl.value(tl.map(look_up, [text, text]))


@pytest.mark.parametrize("app", [ask_twice, map_twice])
@pytest.mark.parametrize("memo", [True, False])
def test_a_guess_serves_one_of_equal_calls(app: Any, memo: bool) -> None:
    texts = [f"{app.name} {memo} {number}?" for number in range(8)]
    found = run_each(app.using(speculate=0.5, memo=memo), [(text,) for text in texts])
    assert [result for result, _ in found] == [[f"facts on {text}"] * 2 for text in texts]


RULES = {"version": 0}


@tl.tool(pure=True)
async def sign(x: float) -> str:
    return f"{x} by {RULES['version']}"


@tl.app
async def ask_sign(x: float) -> str:
    await tl.value(judge("same"))
    RULES["version"] += 1
    return await tl.value(sign(x))


def test_a_guess_is_not_taken_for_another_zero_or_once_what_the_call_reads_has_changed() -> None:
    xs = [0.0, 0.0, 0.0, 0.0, -0.0, -0.0, 0.0]
    before = RULES["version"]
    found = run_each(ask_sign.using(speculate=0.5, memo=False), [(x,) for x in xs])
    assert [r for r, _ in found] == [f"{x} by {before + i}" for i, x in enumerate(xs, 1)]


slots = tl.LLM(
    "fake:",
    token_s=0.02,
    prefill_token_s=0.001,
    pin=True,
    num_slots=1,
    max_batch_items=1,
    replies={"": "one two three four"},
)


@tl.prompt(slots, max_tokens=40)
def plan(text: str) -> str:
    return f"Plan: {text}"


@tl.prompt(slots, max_tokens=40)
def write(text: str) -> str:
    return f"{'You write on railways. ' * 20} Write: {text}"


@tl.app
async def essay(text: str) -> str:
    await tl.value(plan(text))
    return await tl.value(write(text))


@tl.app
def busy(text: str) -> str:
    return plan(text)


halved: list[Any] = []


@tl.tool(pure=True)
async def half(x: float) -> float:
    halved.append(x)
    await asyncio.sleep(0.1)
    return x / 2


@tl.app
async def ask_half(text: str) -> float:
    await tl.value(judge(text))
    return await tl.value(half(2.5))


def test_a_guess_calls_with_the_very_values() -> None:
    found = run_each(ask_half.using(speculate=0.5, memo=False), [(f"{i}",) for i in range(8)])
    assert [result for result, _ in found] == [1.25] * 8
    assert halved == [2.5] * 8
    assert found[-1][1] < found[0][1] - 0.05


def test_a_guess_whose_prompt_is_cancelled_while_it_waits_holds_no_budget() -> None:
    async def main() -> list[int]:
        app, num_open = essay.using(memo=False, speculate=0.9), []
        for number in range(6):
            await app.arun(f"line {number}")
        for number in range(30):
            run = asyncio.ensure_future(app.arun(f"how {number}?"))
            await asyncio.sleep(0.04)
            others = [asyncio.ensure_future(busy.using(memo=False).arun(f"{i}")) for i in range(3)]
            await asyncio.sleep(0.02 * (number % 15))
            run.cancel()
            await asyncio.gather(run, *others, return_exceptions=True)
            num_open += [len(spending.open) for spending in spent]
        return num_open

    spent: list[Spending] = []
    of = Spendings.of

    def noted(self: Spendings, app: str) -> Spending:
        spent.append(of(self, app))
        return spent[-1]

    with patch.object(Spendings, "of", noted):
        found = on_virtual_clock(main)
    assert found
    assert not any(found)


@pytest.mark.parametrize("last_word_s", [0.001, 2.0])
def test_a_prompt_that_the_end_of_the_run_stops_is_told_with_what_it_cost(
    last_word_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.run_ahead.LAST_WORD_S", last_word_s)
    small = tl.LLM("emulated:h100/llama-3.1-8b", output_tokens=6, kv_tokens=20_000)

    @tl.prompt(small, max_tokens=4)
    def plan(text: str) -> str:
        return f"Plan: {text}"

    @tl.prompt(small, max_tokens=4)
    def write(text: str) -> str:
        return f"{'You write on railways. ' * 2500} Write: {text}"

    @tl.prompt(small, max_tokens=4)
    def others(text: str) -> str:
        return f"{text} {'Other words fill the pool. ' * 2900}"

    @tl.app
    async def essay(text: str) -> str:
        said = await tl.value(plan(text))
        return said if text == "stop" else await tl.value(write(text))

    @tl.app
    def fill(text: str) -> str:
        return others(text)

    async def main() -> list[Event]:
        events: list[Event] = []
        app = essay.using(memo=False, speculate=0.9)
        for number in range(6):
            await app.arun(f"line {number}")
            await fill.using(memo=False).arun(str(number))
        for _ in range(2):
            await app.using(listener=events.append).arun("stop")
            await asyncio.sleep(1.0)
            await fill.using(memo=False).arun("more")
        return events

    with patch("runtime.pinned_heads.MAX_HEADS", 0), patch("runtime.service.PinnedHeads.ask"):
        events = on_virtual_clock(main)
    ends = [
        event.fields for event in events if event.kind == "end" and event.node.endswith("ahead")
    ]
    assert ends, "no guess was told"
    for fields in ends:
        assert fields["wasted_tokens"] > 1000
        is_estimated = last_word_s < 0.01  # it was still at its step
        assert fields.get("estimated_tokens", 0) == (fields["wasted_tokens"] if is_estimated else 0)
