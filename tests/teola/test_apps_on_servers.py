"""Apps on fake engines that behave as servers do: control, retries, chats and texts of before."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from backends.fake.capabilities import REMOTE
from teola.runner import default_runner

llm = tl.LLM("fake:", replies={"bad.*not valid": '{"n": 3}', "bad": '{"n": "x"}'})
SYSTEM = "Answer in plain English, from what you are told alone, and say what you leave out. " * 4


class Number(BaseModel):
    n: int


@tl.prompt(llm, system=SYSTEM)
def say(text: str) -> str:
    return f"{text}"


@tl.prompt(llm, out=Number, retries=2)
def number(text: str) -> str:
    return f"{text}"


@tl.tool(pure=True)
def is_long(text: str) -> bool:
    return len(text) > 10


@tl.app
def branches(text: str) -> str:
    first = say(text)
    return tl.cond(is_long(first), lambda: say(f"more of {first}"), lambda: first)


@tl.app
def each(texts: list[str]) -> list[str]:
    return tl.map(lambda text: say(say(text)), texts)


@tl.app
def again(text: str) -> int:
    return number(text).n


@tl.app
def again_in_a_map(texts: list[str]) -> list[Number]:
    return tl.map(number, texts)


@tl.app
async def talk(texts: list[str]) -> list[str]:
    chat = tl.Chat(llm, system="You talk.")
    return [await chat.ask(text) for text in texts]


@tl.app
def forks(texts: list[str]) -> list[str]:
    chat = tl.Chat(llm, system=SYSTEM)
    chat.user("What do you think of these?")
    return tl.map(lambda text: chat.fork().answer(text), texts)


APPS: dict[str, tuple[Any, Any]] = {
    "branches": (branches, "hello"),
    "each": (each, ["a", "b", "c"]),
    "again": (again, "bad"),
    "again_in_a_map": (again_in_a_map, ["bad", "bad too"]),
    "talk": (talk, ["one", "two", "three"]),
    "forks": (forks, ["one", "two", "three"]),
}


def run_traced(name: str, **options: Any) -> tuple[Any, Counter[str]]:
    """What an app gives if it is traced anew, and the ops that ran."""
    app, argument = APPS[name]
    ops: Counter[str] = Counter()

    def listen(event: Any) -> None:
        if event.kind == "end":
            ops[event.op] += 1

    traced = tl.app(app._function)
    return traced.using(memo=False, listener=listen, **options)(argument), ops


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the model the capabilities of a server."""

    def change(server: str) -> None:
        options = {**llm.spec.options, "capabilities": server}
        monkeypatch.setattr(llm, "spec", tl.LLM("fake:", **options).spec)

    return change


@pytest.mark.parametrize("server", REMOTE)
@pytest.mark.parametrize("name", APPS)
def test_an_app_gives_what_it_gives_on_an_engine_that_can_do_everything(
    name: str, server: str, become: Callable[[str], None]
) -> None:
    expected, _ = run_traced(name, optimize=False)
    become(server)
    optimized, _ = run_traced(name)
    plain, _ = run_traced(name, optimize=False)
    assert optimized == plain == expected
    engine = default_runner()._runtime.scheduler("llm", llm.spec).engine  # type: ignore[attr-defined]
    assert engine.num_live_contexts == 0


def test_an_api_keeps_contexts_only_for_conversations_that_go_on(
    become: Callable[[str], None],
) -> None:
    become("api")
    for name in APPS:
        _, ops = run_traced(name)
        kinds = {op for op in ops if op in ("prefill", "decode", "generate")}
        assert kinds == ({"prefill", "decode"} if name == "talk" else {"generate"}), name


def test_an_invalid_answer_is_asked_for_again_behind_the_whole_conversation(
    become: Callable[[str], None],
) -> None:
    become("api")
    value, ops = run_traced("again")
    assert value == 3
    assert ops["generate"] == 2


def test_forks_of_a_long_head_wait_for_it_where_they_do_not_share_it(
    become: Callable[[str], None],
) -> None:
    become("sglang")
    _, ops = run_traced("forks")
    assert (ops["prefill"], ops["decode"]) == (1, 3)
    become("vllm")
    _, ops = run_traced("forks")
    assert (ops["prefill"], ops["decode"]) == (0, 3)
