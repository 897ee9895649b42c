"""`vllm://` in token mode: greedy tokens equal those of the embedded engine, part by part."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from live_server import BLOCK_TOKENS, SLOTS, metric

from backends.base import Result, Turn

pytestmark = [pytest.mark.server, pytest.mark.model]

Call = Callable[..., Awaitable[Result]]
Run = Callable[..., Any]
ASK = (Turn("user"), "Name three rivers of France.", Turn("assistant"))
HEAD = "You answer in one short sentence and never repeat the question. " * 12
GREEDY = {"temperature": 0, "max_tokens": 24}


async def decoded(call: Call, *inputs: Any, **attrs: Any) -> tuple[Any, Any]:
    """The text and the tokens of the context after it."""
    result = await call("decode", *inputs, **{**GREEDY, **attrs})
    text, context = result.outputs
    return text, list(context.ids)


def test_a_decode_writes_the_same_tokens(on_both: Run) -> None:
    async def scenario(call: Call) -> Any:
        return await decoded(call, None, *ASK)

    text, ids = on_both(scenario)
    assert text
    assert len(ids) > 30


def test_a_whole_prompt_generates_what_a_decode_writes(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        generated = await call("generate", *ASK, **GREEDY)
        return generated.outputs, (await call("decode", None, *ASK, **GREEDY)).outputs[0]

    (text,), decoded_text = on_server(scenario)
    assert text == decoded_text


def test_forks_of_a_prefix_write_the_same_tokens(on_both: Run) -> None:
    async def scenario(call: Call) -> Any:
        head = (await call("prefill", None, Turn("system"), HEAD)).outputs[0]
        questions = ("Where is Oslo?", "What is bread made of?", "Who wrote Hamlet?")
        tails = [(Turn("user"), question, Turn("assistant")) for question in questions]
        return await asyncio.gather(*(decoded(call, head, *tail) for tail in tails))

    assert len({text for text, _ in on_both(scenario)}) == 3


def test_turns_of_a_conversation_continue_their_own_tokens(on_both: Run) -> None:
    async def scenario(call: Call) -> Any:
        first = await call("decode", None, *ASK, **GREEDY)
        again = (Turn("user"), "And of Italy?", Turn("assistant"))
        second = await call("decode", first.outputs[1], *again, **GREEDY)
        return first.outputs[0], second.outputs[0], list(second.outputs[1].ids)

    on_both(scenario)


def test_a_stop_text_ends_the_output_at_the_same_place(on_both: Run) -> None:
    async def scenario(call: Call) -> Any:
        result = await call("decode", None, *ASK, **GREEDY, stop=["."])
        return result.outputs[0], result.finish_reason, result.samples[0].stop

    text, reason, stop = on_both(scenario)
    assert (reason, stop) == ("stop", ".")
    assert "." not in text


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "form",
    [{"schema": CITY}, {"regex": "(Rhone|Loire|Seine)-[0-9]{2}"}, {"choices": ["yes", "no"]}],
    ids=lambda form: next(iter(form)),
)
def test_structured_output_is_the_same(on_both: Run, form: Mapping[str, Any]) -> None:
    async def scenario(call: Call) -> Any:
        return (await decoded(call, None, *ASK, max_tokens=48, **form))[0]

    text = on_both(scenario)
    if "schema" in form:
        assert set(json.loads(text)) == {"city", "big"}
    else:
        assert text in ("yes", "no") or re.fullmatch(form["regex"], text)


def test_several_samples_are_so_many_texts(on_both: Run) -> None:
    async def scenario(call: Call) -> Any:
        return (await call("decode", None, *ASK, **GREEDY, n=2)).outputs[0]

    texts = on_both(scenario)
    assert len(texts) == 2
    assert texts[0] == texts[1]


def test_seeds_make_samples_repeatable_and_apart(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        attrs = {"temperature": 1.0, "max_tokens": 16, "seed": 3}
        several = (await call("decode", None, *ASK, **attrs, n=2)).outputs[0]
        return several, (await call("decode", None, *ASK, **attrs)).outputs[0]

    several, first = on_server(scenario)
    assert several[0] == first
    assert several[0] != several[1]


def test_a_selection_scores_choices_alike(on_server: Run, on_both: Run) -> None:
    choices = ["Paris", "Berlin", "the sea of tranquility"]

    async def scores(call: Call) -> Any:
        question = (Turn("user"), "What is the capital of France?", Turn("assistant"))
        context = (await call("prefill", None, *question)).outputs[0]
        return (await call("select", context, choices)).outputs

    async def chosen(call: Call) -> Any:
        text, found, _ = await scores(call)
        return text, [round(score, 2) for score in found]

    assert on_both(chosen)[0] == "Paris"


def test_log_probabilities_are_alike(on_both: Run) -> None:
    async def scenario(call: Call) -> Any:
        result = await call("decode", None, *ASK, **GREEDY, logprobs=2)
        places = result.samples[0].logprobs
        return [
            (place.id, round(place.logprob, 2), [(t.id, round(t.logprob, 2)) for t in place.top])
            for place in places
        ]

    assert len(on_both(scenario)) == 24


def test_text_comes_while_the_server_writes(on_server: Run) -> None:
    pieces: list[str] = []

    async def scenario(call: Call) -> Any:
        return (await call("decode", None, *ASK, **GREEDY, emit=pieces.append)).outputs[0]

    assert on_server(scenario) == "".join(pieces)
    assert len(pieces) > 10


def test_cached_tokens_are_counted(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        mark = f"Log {time.time_ns()}. "  # no other test has begun so
        head = (await call("prefill", None, Turn("system"), mark + HEAD)).outputs[0]
        ask = (Turn("user"), "Where is Oslo?", Turn("assistant"))
        cold = await call("decode", head, *ask, **GREEDY)
        warm = await call("decode", head, *ask, **GREEDY)
        return head.num_tokens, cold.usage, warm.usage

    length, cold, warm = on_server(scenario)
    assert cold.cached_tokens == 0
    assert cold.prefill_tokens >= length
    assert length - BLOCK_TOKENS <= warm.cached_tokens
    assert warm.cached_tokens + warm.prefill_tokens == cold.prefill_tokens


def test_a_warm_up_is_found_by_the_decode_after_it(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        mark = f"Log {time.time_ns()}. "
        ahead = await call("prefill", None, Turn("system"), mark + HEAD, ahead=True)
        ask = (Turn("user"), "Where is Oslo?", Turn("assistant"))
        return ahead, await call("decode", ahead.outputs[0], *ask, **GREEDY)

    ahead, decode = on_server(scenario)
    assert ahead.usage.prefill_tokens >= ahead.outputs[0].num_tokens
    assert decode.usage.cached_tokens >= ahead.outputs[0].num_tokens - BLOCK_TOKENS


def test_an_urgent_request_goes_before_those_that_wait(vllm: Any, on_server: Run) -> None:
    ended: list[str] = []

    async def until(name: str, count: int) -> None:
        async with asyncio.timeout(120):
            while await asyncio.to_thread(metric, vllm.url, f"vllm:num_requests_{name}") < count:
                await asyncio.sleep(0.01)

    async def scenario(call: Call) -> list[str]:
        async def run(name: str, priority: int, max_tokens: int) -> None:
            prompt = (Turn("user"), f"Count to {name}.", Turn("assistant"))
            attrs = {"temperature": 0, "max_tokens": max_tokens, "ignore_eos": True}
            await call("generate", *prompt, **attrs, priority=priority)
            ended.append(name)

        async with asyncio.TaskGroup() as tasks:
            busy = [tasks.create_task(run(f"busy {i}", 0, 4000)) for i in range(SLOTS)]
            await until("running", SLOTS)
            for i in range(SLOTS):
                tasks.create_task(run(f"late {i}", -1, 8))
            await until("waiting", SLOTS)
            urgent = tasks.create_task(run("urgent", 5, 8))
            await until("waiting", SLOTS + 1)
            busy[0].cancel()  # one slot is free
            await urgent
            before_urgent = [name for name in ended if name != "urgent"]
            for task in busy:
                task.cancel()
        return before_urgent

    assert on_server(scenario) == []
    assert len(ended) == SLOTS + 1


def test_an_aborted_request_frees_its_slot_within_a_second(vllm: Any, on_server: Run) -> None:
    async def scenario(call: Call) -> float:
        has_text = asyncio.Event()
        endless = {"temperature": 0, "max_tokens": 4000, "ignore_eos": True}
        decode = asyncio.create_task(
            call("decode", None, *ASK, **endless, emit=lambda _: has_text.set())
        )
        await asyncio.wait_for(has_text.wait(), 60)
        began = time.monotonic()
        decode.cancel()
        while metric(vllm.url, "vllm:num_requests_running"):
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    assert on_server(scenario) < 1.0
