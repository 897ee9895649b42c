"""Random calls of semantic functions, made in any order, give what they give in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import teola as tl

llm = tl.LLM("fake:")  # what it writes depends on the whole text before


@dataclass(frozen=True)
class Call:
    """A template: what it reads, of the texts made by then, and how many outputs it has."""

    reads: tuple[int, ...]
    num_outputs: int
    is_chat: bool
    criterion: Any

    def function(self) -> Any:
        inputs = " ".join(f"{{{{input:i{k}}}}}" for k in range(len(self.reads)))
        outputs = " then ".join(f"{{{{output:o{k}}}}}" for k in range(self.num_outputs))
        return tl.semantic(llm, f"Read {inputs} and write {outputs}", chat=self.is_chat)


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Call], list[int]]:
    calls: list[Call] = []
    num_texts = 1  # the app's argument
    for _ in range(draw(st.integers(1, 5))):
        reads = draw(st.lists(st.integers(0, num_texts - 1), min_size=1, max_size=3))
        criterion = draw(st.sampled_from([None, tl.LATENCY, tl.THROUGHPUT]))
        call = Call(tuple(reads), draw(st.integers(1, 2)), draw(st.booleans()), criterion)
        calls.append(call)
        num_texts += call.num_outputs
    return calls, draw(st.permutations(range(len(calls))))


def variables_of(calls: Sequence[Call], order: Sequence[int], text: Any) -> list[tl.Variable[str]]:
    """All outputs of the calls, which are made in this order."""
    outputs = [[tl.variable() for _ in range(call.num_outputs)] for call in calls]
    flat = [variable for each in outputs for variable in each]
    texts = [text, *flat]
    for number in order:
        call = calls[number]
        inputs = {f"i{k}": texts[read] for k, read in enumerate(call.reads)}
        call.function()(**inputs, **{f"o{k}": v for k, v in enumerate(outputs[number])})
        outputs[number][-1].get(call.criterion)
    return flat


@settings(max_examples=30, deadline=None)
@given(programs(), st.booleans())
def test_calls_in_any_order_give_what_they_give_in_order(
    program: tuple[list[Call], list[int]], optimize: bool
) -> None:
    calls, order = program

    @tl.app
    def in_order(text: str) -> list[str]:
        return [v.value for v in variables_of(calls, range(len(calls)), text)]

    @tl.app
    def in_any(text: str) -> list[str]:
        return [v.value for v in variables_of(calls, order, text)]

    @tl.app
    async def awaited(text: str) -> list[str]:
        return [await v for v in variables_of(calls, order, text)]

    expected = in_order.using(optimize=False, memo=False)("a text")
    for app in (in_any, awaited):
        assert app.using(optimize=optimize, memo=False)("a text") == expected
