"""Semantic functions and evaluations, as type checkers see them."""

from typing import Annotated, Literal, assert_type

import teola as tl

llm = tl.LLM("fake:")


class Joke(tl.Outputs):
    joke: Annotated[tl.Variable[str], tl.Output(max_tokens=20, transform=tl.transforms.strip())]
    score: tl.Variable[int]
    tone: tl.Variable[Literal["dry", "silly"]]


@tl.semantic(llm, out=Joke, temperature=0.5)
def tell(topic: tl.Input[str]) -> None:
    """Tell a joke about {{topic}}: {{joke}} How good is it? {{score}} Its tone? {{tone}}"""


@tl.semantic(llm)
def shorten(text: tl.Input[str], words: int = 5) -> None:
    """Shorten {{text}} to {{words}} words. {{output:short}}"""


@tl.semantic(llm, out=int)
def grade(text: tl.Input[str], into: tl.Variable[int] | None = None) -> None:
    """Grade {{text}} {{into}}"""


@tl.tool
def count(text: str) -> int:
    return len(text)


def short(row: dict[str, str], output: str) -> bool:
    return len(output) < len(row["topic"])


@tl.app
def app(topic: str) -> tuple[str, int]:
    draft = tl.variable()
    number = tl.variable(int, name="number")
    text = shorten(draft)
    told = tell(topic)
    draft.set(told.joke.value)
    grade(text, into=number)
    assert_type(told, Joke)
    assert_type(told.score.value, int)
    assert_type(text.get(tl.LATENCY), tl.Variable[str])
    assert_type(number, tl.Variable[int])
    assert_type(tl.semantic(llm, "{{input:x}} {{output:y}}", out=bool)("x"), tl.Variable[bool])
    assert_type(tl.semantic(llm, "{{input:x}} {{output:y}}", out=Joke)("x"), Joke)
    return text.value, count(text.value)


@tl.app
async def later(topic: str) -> int:
    told = tell(topic)
    assert_type(await told.score.get(tl.THROUGHPUT), int)
    return await told.score


async def measure() -> float:
    found = await tl.aevaluate(app, "rows.jsonl", [tl.metrics.f1(), short], concurrency=2)
    assert_type(await app.abatch(["a"], concurrency=1), list[tuple[str, int] | Exception])
    again = tl.evaluate(app, [{"topic": "x"}], {"judge": tl.metrics.judge(llm, "Right?")})
    return found.scores["f1"].mean + again.totals["decode_tokens"]
