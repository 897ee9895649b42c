"""Conversations in apps, on the fake model, which counts words and live contexts."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from runtime.events import Event
from teola.errors import OutputInvalid, RequestTooLong, TraceError
from teola.runner import default_runner

llm = tl.LLM(
    "fake:",
    replies={
        r"name\?<\|assistant\|>$": "Bob",
        r"Bob.*sure\?<\|assistant\|>$": "yes Bob",
        r"Two numbers<\|assistant\|>$": '{"first": 1, "second": 2}',
        r"Broken<\|assistant\|>$": '{"first": ',
    },
)
short = tl.LLM("fake:", name="short", max_context_tokens=8, replies={"": "ok"})
both_ways = pytest.mark.parametrize("optimize", [True, False])


class Pair(BaseModel):
    first: int
    second: int


@tl.prompt(llm)
def as_messages(name: str) -> list[tl.Message]:
    return [
        tl.Message("system", "Be brief."),
        tl.Message("user", f"I am {name}."),
        tl.Message("assistant", "Hello."),
        tl.Message("user", "What is my name?"),
    ]


@tl.prompt(llm, system="Be brief.")
def begun(name: str) -> list[tl.Message]:
    return [tl.Message("user", f"Hi {name}"), tl.Message("assistant", "Well,")]


def engine_of(component: tl.LLM) -> Any:
    runner: Any = default_runner()
    return runner._runtime.scheduler("llm", component.spec).engine


def prefilled(events: list[Event]) -> list[int]:
    """The words that each prefill read, in order."""
    return [
        event.fields["prefill_tokens"]
        for event in events
        if event.kind == "end" and event.op == "prefill"
    ]


@tl.app
async def talk(texts: list[str]) -> list[str]:
    chat = tl.Chat(llm, system="You talk.")
    return [await chat.ask(text) for text in texts]


@both_ways
def test_each_turn_knows_what_was_said_before(optimize: bool) -> None:
    @tl.app
    async def app(name: str) -> list[tl.Message]:
        chat = tl.Chat(llm, system="Be brief.")
        chat.user(f"I am {name}.")
        first = await chat.ask("What is my name?")
        assert type(first) is str
        await chat.ask("Are you sure?")
        return chat.messages

    assert app.using(optimize=optimize)("Bob") == [
        tl.Message("system", "Be brief."),
        tl.Message("user", "I am Bob."),
        tl.Message("user", "What is my name?"),
        tl.Message("assistant", "Bob"),
        tl.Message("user", "Are you sure?"),
        tl.Message("assistant", "yes Bob"),
    ]


def test_a_turn_reads_only_what_is_new() -> None:
    heard: list[Event] = []
    talk.using(listener=heard.append)([f"one two three {i}" for i in range(5)])
    assert sum(prefilled(heard)[:1]) == 5  # turns are glued to their neighbours as one word
    assert set(prefilled(heard)[1:]) == {4}


def test_a_long_conversation_compiles_a_bounded_number_of_shapes() -> None:
    assert len(talk([f"message {i}" for i in range(100)])) == 100
    for i in range(10):
        talk([f"hello {i}", "and?", "more"])
    assert len(talk._segments) <= 3


@pytest.mark.parametrize("num_turns", [1, 2, 6])
def test_nothing_is_kept_when_the_app_has_ended(num_turns: int) -> None:
    talk([f"turn {i}" for i in range(num_turns)])
    assert engine_of(llm).num_live_contexts == 0


def test_a_chat_keeps_one_context_whatever_its_length() -> None:
    live: list[int] = []

    @tl.app
    async def app(texts: list[str]) -> list[int]:
        chat = tl.Chat(llm)
        for text in texts:
            await chat.ask(text)
            live.append(engine_of(llm).num_live_contexts)
        return live

    assert max(app([f"turn {i}" for i in range(30)])) <= 3  # the last turn's, and one on its way


def test_closing_a_chat_or_dropping_it_gives_the_context_back() -> None:
    async def comes_to(num_live: int) -> bool:
        for _ in range(3000):
            if engine_of(llm).num_live_contexts == num_live:
                return True
            await asyncio.sleep(0.01)
        return False

    @tl.app
    async def app(text: str) -> list[bool]:
        chat = tl.Chat(llm)
        await chat.ask(text)
        held = await comes_to(1)
        chat.close()
        closed = await comes_to(0)
        chat = tl.Chat(llm)
        await chat.ask(text)
        held_again = await comes_to(1)
        del chat
        return [held, closed, held_again, await comes_to(0)]

    assert app("hello") == [True] * 4


def test_a_closed_chat_keeps_its_messages_and_says_nothing_more() -> None:
    @tl.app
    async def app(text: str) -> int:
        chat = tl.Chat(llm)
        await chat.ask(text)
        chat.close()
        assert len(chat.messages) == 2
        await chat.ask("more")
        return 0

    with pytest.raises(TraceError, match=r"test_chat.py:\d+: chat.answer\(\) comes after"):
        app("x")


def test_an_answer_of_a_type() -> None:
    @tl.app
    async def app(text: str) -> tuple[int, str]:
        chat = tl.Chat(llm)
        pair = await chat.ask(text, out=Pair, max_tokens=20)
        return pair.first + pair.second, chat.messages[-1].content

    assert app("Two numbers") == (3, '{"first": 1, "second": 2}')


def test_sampling_is_said_at_the_turn() -> None:
    @tl.app
    async def app(text: str) -> set[str]:
        chats = tl.Chat(llm).fork(3)
        asked = [chat.ask(text, temperature=1.0, seed=i) for i, chat in enumerate(chats)]
        return set(await asyncio.gather(*asked))

    assert len(app("surprise me")) == 3


@both_ways
def test_forks_share_what_was_read_and_go_ways_of_their_own(optimize: bool) -> None:
    heard: list[Event] = []

    @tl.app
    async def app(document: str) -> list[list[tl.Message]]:
        chat = tl.Chat(llm, system=document)
        await chat.ask("Read it.")
        forks = chat.fork(3)
        await asyncio.gather(*(fork.ask(f"Question {i}?") for i, fork in enumerate(forks)))
        return [chat.messages, *(fork.messages for fork in forks)]

    document = "word " * 50
    first, *others = app.using(optimize=optimize, listener=heard.append)(document)
    assert [len(first), *map(len, others)] == [3, 5, 5, 5]
    assert [other[3].content for other in others] == ["Question 0?", "Question 1?", "Question 2?"]
    assert sorted(prefilled(heard))[:3] == [2, 2, 2]
    assert engine_of(llm).num_live_contexts == 0


def test_forks_read_together_what_was_not_read_yet() -> None:
    heard: list[Event] = []

    @tl.app
    async def app(document: str) -> list[str]:
        chat = tl.Chat(llm)
        chat.user(document)
        forks = chat.fork(4)
        return list(await asyncio.gather(*(fork.ask() for fork in forks)))

    answers = app.using(listener=heard.append, optimize=False)("word " * 50)
    assert len(set(answers)) == 1
    assert sorted(prefilled(heard)) == [1, 1, 1, 1, 50]


@both_ways
def test_a_chat_in_a_def_app(optimize: bool) -> None:
    @tl.app
    def app(name: str) -> list[str]:
        chat = tl.Chat(llm)
        chat.user(f"I am {name}.")
        first = chat.answer("What is my name?")
        return [first, chat.answer("Are you sure?")]

    assert app.using(optimize=optimize)("Bob") == ["Bob", "yes Bob"]
    assert engine_of(llm).num_live_contexts == 0


@both_ways
def test_a_fork_in_a_map(optimize: bool) -> None:
    @tl.app
    async def app(name: str) -> list[str]:
        chat = tl.Chat(llm)
        chat.user(f"I am {name}.")
        await chat.ask("What is my name?")
        return tl.map(lambda text: chat.fork().answer(f"{text} sure?"), ["Are you", "Really"])

    assert app.using(optimize=optimize)("Bob") == ["yes Bob", "yes Bob"]
    assert engine_of(llm).num_live_contexts == 0


def test_a_chat_of_the_outside_cannot_go_on_in_a_map() -> None:
    @tl.app
    async def app(name: str) -> list[str]:
        chat = tl.Chat(llm)
        return tl.map(lambda text: chat.answer(text), [name])

    with pytest.raises(TraceError, match=r"test_chat.py:\d+: .* make a chat.fork\(\) here"):
        app("x")


def test_a_chat_of_another_run_cannot_go_on() -> None:
    kept: list[tl.Chat] = []

    @tl.app
    async def app(text: str) -> str:
        kept.append(tl.Chat(llm) if not kept else kept[0])
        return await kept[-1].ask(text)

    app("one")
    with pytest.raises(TraceError, match="of another run"):
        app("two")


def test_a_chat_outside_of_an_app_is_an_error() -> None:
    with pytest.raises(TraceError, match="tl.Chat is called outside of an app"):
        tl.Chat(llm)


def test_awaiting_a_turn_in_a_def_app_is_an_error_with_the_way_out() -> None:
    @tl.app
    def app(text: str) -> Any:
        return tl.Chat(llm).ask(text)

    with pytest.raises(TraceError, match=r"chat.ask\(\) can be awaited .* chat.answer\(\)"):
        app("x")


def test_nothing_said_is_an_error() -> None:
    @tl.app
    async def app(text: str) -> str:
        return await tl.Chat(llm, system=text).ask()

    with pytest.raises(TraceError, match="there is nothing to answer"):
        app("x")


def test_pieces_of_an_answer_as_they_come() -> None:
    @tl.app
    async def app(text: str) -> list[str]:
        chat = tl.Chat(llm)
        chat.user("I am Bob.")
        await chat.ask("What is my name?")
        pieces = [piece async for piece in chat.stream("Are you sure?")]
        assert chat.messages[-1] == tl.Message("assistant", "".join(pieces))
        return [*pieces, await chat.ask("What is your name?")]

    assert app("x") == ["yes ", "Bob", "Bob"]


def test_the_pieces_come_before_the_end() -> None:
    slow = tl.LLM("fake:", name="slow", token_s=0.2, replies={"": "one two three four five"})

    @tl.app
    async def app(text: str) -> list[bool]:
        chat = tl.Chat(slow)
        stream = chat.stream(text)
        return [type(chat.messages[-1].content) is str async for _ in stream]

    assert app("x")[:3] == [False, False, False]


def test_a_turn_that_failed_was_never_said() -> None:
    @tl.app
    async def app(text: str) -> list[tl.Message]:
        chat = tl.Chat(short)
        await chat.ask("hello")
        with pytest.raises(RequestTooLong):
            await chat.ask("a b c d e f g h i j k l m n")
        with pytest.raises(RequestTooLong):
            _ = [piece async for piece in chat.stream("a b c d e f g h i j k l m n")]
        await chat.ask(text)
        return chat.messages

    said = [message.content for message in app("short")]
    assert said == ["hello", "ok", "short", "ok"]
    assert engine_of(short).num_live_contexts == 0


def test_turns_asked_for_on_top_of_a_failed_one_are_undone_with_it() -> None:
    @tl.app
    async def app(text: str) -> list[tl.Message]:
        chat = tl.Chat(short)
        await chat.ask("hello")
        asked = [chat.ask("a b c d e f g h i j k"), chat.ask("then"), chat.ask("so")]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [RequestTooLong] * 3
        await chat.ask(text)
        return chat.messages

    assert [message.content for message in app("short")] == ["hello", "ok", "short", "ok"]


def test_invalid_output_leaves_the_chat_as_it_was() -> None:
    @tl.app
    async def app(text: str) -> int:
        chat = tl.Chat(llm)
        with pytest.raises(OutputInvalid):
            await chat.ask(text, out=Pair)
        return len(chat.messages)

    assert app("Broken") == 0


def test_a_conversation_can_begin_with_messages() -> None:
    @tl.app
    async def app(name: str) -> str:
        first = [tl.Message("user", f"I am {name}."), tl.Message("assistant", "Hello.")]
        return await tl.Chat(llm, messages=first).ask("What is my name?")

    assert app("Bob") == "Bob"


def test_the_final_text_is_the_answer_that_is_returned_unawaited() -> None:
    @tl.app
    async def app(name: str) -> str:
        chat = tl.Chat(llm)
        chat.user(f"I am {name}.")
        await chat.ask("What is my name?")
        return chat.answer("Are you sure?")

    events = list(app.stream("Bob"))
    final = [e.fields["text"] for e in events if e.kind == "text" and e.fields["final"]]
    assert "".join(final) == "yes Bob"
    assert events[-1].fields["result"] == "yes Bob"


def test_a_prompt_may_return_messages() -> None:
    @tl.app
    def app(name: str) -> str:
        return as_messages(name)

    assert '@system "Be brief." @user "I am" @sp %name "." @assistant "Hello." @user' in str(
        app.graph()
    )
    assert app("Bob") == "Bob"


def test_a_prompt_that_ends_in_the_answers_beginning_leaves_it_open() -> None:
    @tl.app
    def app(name: str) -> str:
        return begun(name)

    text = str(app.graph())
    assert '@system "Be brief." @user "Hi" @sp %name @assistant "Well," [engine=' in text


def test_messages_have_the_roles_of_a_chat() -> None:
    with pytest.raises(ValueError, match="'system', 'user', 'assistant', not 'tool'"):
        tl.Message("tool", "x")  # type: ignore[arg-type]


def test_a_prompt_that_returns_no_messages_is_an_error() -> None:
    @tl.prompt(llm)
    def nothing(name: str) -> list[tl.Message]:
        return []

    @tl.prompt(llm, system="One.")
    def two_systems(name: str) -> list[tl.Message]:
        return [tl.Message("system", "Two."), tl.Message("user", name)]

    for prompt, problem in ((nothing, "must `return` the prompt"), (two_systems, "has system=")):

        @tl.app
        def app(name: str) -> str:
            return prompt(name)  # noqa: B023  (traced at once)

        with pytest.raises(TraceError, match=problem):
            app.graph()
