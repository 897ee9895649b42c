"""Inside the embedded engine too, work for throughput comes after what somebody waits for."""

import asyncio

import teola as tl
from runtime.clock import now
from teola.virtual import on_virtual_clock

llm = tl.LLM(
    "emulated:h100/llama-3.1-8b",
    tokenizer="bytes",
    output_tokens=4,
    token_budget=256,
    max_running=8,
    policy="fcfs",  # so that nothing else brings a short call forward
)


@tl.prompt(llm, max_tokens=8)
def summary(text: str) -> str:
    return f"Sum up: {text}"


@tl.app
def summarize(text: str) -> str:
    return summary(text)


def seconds_beside(objective: str) -> float:
    """How long a short call takes that comes while six long prompts are computed."""

    async def late() -> float:
        await asyncio.sleep(0.03)
        began_s = now()
        await summarize.using(memo=False).arun("Now?")
        return now() - began_s

    async def main() -> float:
        app = summarize.using(objective=objective, memo=False)
        long = (app.arun(f"{number} " * 2000) for number in range(6))
        seconds, *_ = await asyncio.gather(late(), *long)
        return seconds

    return on_virtual_clock(main)


def test_a_short_call_overtakes_long_prompts_in_bulk_inside_the_engine() -> None:
    assert seconds_beside("throughput") < 0.5 * seconds_beside("latency")
