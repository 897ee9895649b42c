"""A stored run on a real model: the conversation that goes on says what it would have said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import teola as tl
from teola.runner import AppRunner, chosen_runner

llm = tl.LLM("local:smollm2-135m")
broken: set[str] = set()

pytestmark = pytest.mark.model


@tl.tool
def check(text: str) -> str:
    if text in broken:
        raise ValueError("not now")
    return text


@tl.app
async def talk(topic: str) -> list[str]:
    chat = tl.Chat(llm, system="Answer in a few words.")
    first = await chat.ask(f"Name one fruit from {topic}.", max_tokens=12)
    await tl.value(check("middle"))
    second = await chat.ask("And its color?", max_tokens=12)
    other = chat.fork()
    return [first, second, await other.ask("Its taste?", max_tokens=8)]


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    broken.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


def test_a_conversation_goes_on_with_what_the_model_had_read(tmp_path: Path) -> None:
    folder = str(tmp_path / "runs")
    whole = talk.using(memo=False)("Spain")
    broken.add("middle")
    with pytest.raises(tl.errors.NodeFailed):
        talk.using(runs=folder, memo=False)("Spain")
    broken.clear()
    events: list[str] = []
    app = talk.using(memo=False, listener=lambda event: events.append(event.kind))
    again = tl.resume(tl.runs(folder)[0].id, runs=folder, app=app)
    assert again == whole
    assert tl.resume(tl.runs(folder)[0].id, runs=folder, app=app) == whole
