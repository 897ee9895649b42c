"""Whole apps on `openai://` at teola's own server say what they say on the embedded engine."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import teola as tl
from samples import advanced_rag, judge
from teola.runner import default_runner

pytestmark = [pytest.mark.server, pytest.mark.model]

MODEL = "smollm2-135m"
FILES = ["samples/data/sqlite/lts.md"]
QUESTION = "Until which year do the developers intend to support SQLite?"
TEXTS = ["Name a colour.", "Name another one.", "Which one is darker?"]

llm = tl.LLM(f"local:{MODEL}", kv_tokens=2048)


@tl.app
async def talk(texts: list[str]) -> list[str]:
    chat = tl.Chat(llm, system="Answer in a few words.")
    for text in texts:
        await chat.ask(text, max_tokens=16)
    other = chat.fork()
    await other.ask("And why?", max_tokens=16)
    return [message.content for message in other.messages]


@tl.prompt(llm, max_tokens=24)
def tell(topic: str) -> str:
    return f"Tell me about {topic}."


@tl.app
def told(topic: str) -> str:
    return tell(topic)


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any]) -> Iterator[str]:
    with serve(f"local:{MODEL}") as server:
        yield f"openai://{server.url.removeprefix('http://')}/{MODEL}"
        default_runner().close()


@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (advanced_rag.rag, (QUESTION, FILES)),
        (judge.judge, ()),
    ],
)
def test_a_sample_gives_the_answer_of_the_embedded_engine_optimized_and_plain(
    url: str, app: Any, arguments: tuple[Any, ...]
) -> None:
    wanted = app.using(memo=False)(*arguments)
    remote = app.using(memo=False, engines={"llm": url})
    assert remote(*arguments) == wanted
    assert remote.using(optimize=False)(*arguments) == wanted


def test_a_conversation_and_its_fork_say_the_same(url: str) -> None:
    remote = talk.using(memo=False, engines={"llm": url})
    assert remote(TEXTS) == talk.using(memo=False)(TEXTS)


def test_a_call_is_one_request_and_streams(url: str) -> None:
    heard = list(told.using(memo=False, engines={"llm": url}).stream("databases"))
    assert len([event for event in heard if event.kind == "text"]) > 3
    assert [event.op for event in heard if event.kind == "start"] == ["generate"]
