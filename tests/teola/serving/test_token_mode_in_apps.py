"""Apps on teola:// in token mode, against a server of its own process with the tiny model: chats,
streams and fan-outs as in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from runtime.events import Event

pytestmark = pytest.mark.server

OPTIONS = {"dtype": "float32", "kernels": "torch", "kv_tokens": 8192}
TEXTS = ["Name a colour.", "Another one.", "Which is darker?"]
HEAD = "You answer as briefly as can be, in one word and never in two. " * 2


@pytest.fixture(scope="module")
def urls(serve: Callable[..., Any], tiny_folder: Callable[..., Path]) -> Iterator[tuple[str, str]]:
    """Of the embedded engine and of the server, which names the folder that is here."""
    words = [word for item in OPTIONS.items() for word in ("--option", "{}={}".format(*item))]
    local = f"local:{tiny_folder()}"
    with serve(local, *words) as server:
        yield local, server.url.replace("http://", "teola://")


def both(urls: tuple[str, str], run: Callable[[tl.LLM], Any]) -> tuple[Any, Any]:
    """What `run` makes of the embedded LLM, and of the served one."""
    local, remote = urls
    tokenizer = local.removeprefix("local:")
    return run(tl.LLM(local, **OPTIONS)), run(tl.LLM(remote, tokenizer=tokenizer))


def test_a_chat_says_the_same_in_all_its_turns_and_forks(urls: tuple[str, str]) -> None:
    def run(llm: tl.LLM) -> list[tuple[str, str]]:
        @tl.app
        async def talk(texts: list[str]) -> list[tl.Message]:
            chat = tl.Chat(llm, system="Be brief.")
            for text in texts:
                await chat.ask(text, max_tokens=12)
            other = chat.fork()
            await other.ask("And now?", max_tokens=12)
            return other.messages

        return [(message.role, message.content) for message in talk(TEXTS)]

    local, remote = both(urls, run)
    assert len(local) == 9
    assert remote == local


def test_a_stream_says_what_a_call_returns(urls: tuple[str, str]) -> None:
    def run(llm: tl.LLM) -> tuple[str, str]:
        @tl.prompt(llm, max_tokens=20, system=HEAD)
        def answer(question: str) -> str:
            return f"Question: {question}"

        @tl.app
        def app(question: str) -> str:
            return answer(question)

        events = app.using(memo=False).stream("Why?")
        pieces = [event.fields["text"] for event in events if event.kind == "text"]
        assert len(pieces) > 2
        return "".join(pieces), app("Why?")

    (local, _), (streamed, called) = both(urls, run)
    assert streamed == called == local


def test_a_fan_out_shares_its_head_at_the_server(urls: tuple[str, str]) -> None:
    heard: list[Event] = []

    def run(llm: tl.LLM) -> list[str]:
        @tl.prompt(llm, max_tokens=6, system=HEAD)
        def answer(question: str) -> str:
            return f"Question: {question}"

        @tl.app
        def app(questions: list[str]) -> list[str]:
            return tl.map(answer, questions)

        heard.clear()
        app(["warm"])
        heard.clear()
        return app.using(listener=heard.append, memo=False)(["a", "b", "c", "d"])

    local, remote = both(urls, run)
    assert remote == local
    decodes = [event for event in heard if event.kind == "end" and event.op == "decode"]
    assert len(decodes) == 4
    assert all(event.fields["cached_tokens"] >= 100 for event in decodes)


def test_a_run_that_is_heard_tells_how_the_servers_steps_served_it(urls: tuple[str, str]) -> None:
    heard: list[Event] = []

    def run(llm: tl.LLM) -> list[Event]:
        @tl.prompt(llm, max_tokens=6)
        def answer(question: str) -> str:
            return f"Question: {question}"

        @tl.app
        def app(question: str) -> str:
            return answer(question)

        heard.clear()
        app.using(listener=heard.append, memo=False)("Why?")
        return [event for event in heard if event.kind == "end" and "served" in event.fields]

    local, remote = both(urls, run)
    assert len(local) >= 1
    (end,) = remote
    assert end.op == "decode"
    assert end.fields["served"]["num_steps"] >= 6
    assert end.fields["served"]["num_chunks"] >= 1
