"""`tl.fake`: models that say what a test wrote."""

import asyncio
import contextvars
import threading
from typing import Literal

import pytest
from pydantic import BaseModel

import teola as tl
from backends.tool_calls.hermes import HermesParser
from teola.errors import ConfigError, EngineOverloaded, NodeFailed, NoReply
from teola.runner import default_runner

# Nobody listens there: what is not swapped fails.
llm = tl.LLM("openai://127.0.0.1:9/v1/small")
other = tl.LLM("openai://127.0.0.1:9/v1/large")
embedder = tl.Embedder("openai://127.0.0.1:9/v1/embed")
store = tl.Store("local:", embedder=embedder)


class City(BaseModel):
    name: str
    people: int = 0


@tl.prompt(llm, max_tokens=7, temperature=0.5)
def ask(question: str) -> str:
    return f"Answer: {question}"


@tl.prompt(llm, out=City)
def city(text: str) -> str:
    return f"City in: {text}"


@tl.prompt(other, out=Literal["yes", "no"])
def judge(text: str) -> str:
    return f"Is this right? {text}"


@tl.app
def answered(question: str) -> tuple[str, str]:
    text = ask(question)
    return text, judge(text)


@tl.app
def one(question: str) -> str:
    return ask(question)


@tl.app
async def agent(question: str) -> str:
    for _ in range(5):
        text = await tl.value(ask(question))
        if await tl.value(judge(text)) == "yes":
            return text
    return "gave up"


def test_replies_by_pattern_are_given_and_calls_recorded() -> None:
    with tl.fake(llm, {r"capital of \w+": "Paris", "": "What?"}) as faked:
        assert one("the capital of France?") == "Paris"
        assert one("hm") == "What?"
    first, second = faked.calls
    assert first.prompt == "<|user|>Answer: the capital of France?<|assistant|>"
    assert first.messages == [("user", "Answer: the capital of France?")]
    assert first.parameters["max_tokens"] == 7
    assert first.parameters["temperature"] == 0.5
    assert (first.engine, first.reply) == ("openai://127.0.0.1:9/v1/small", "Paris")
    assert faked.prompts[1] == second.prompt


def test_replies_in_order_run_an_async_apps_loop() -> None:
    with tl.fake(llm, ["first", "second"]) as asked, tl.fake(other, ["no", "yes"]) as judged:
        assert agent("x") == "second"
    assert len(asked.calls) == len(judged.calls) == 2
    with tl.fake(agent, {"Is this right": ["no", "yes"], "Answer": ["a", "b"]}):
        assert asyncio.run(agent.arun("x")) == "b"


def test_a_function_gives_the_reply_for_a_prompt() -> None:
    with tl.fake(llm, lambda prompt: prompt.upper()):
        assert one("x") == "<|USER|>ANSWER: X<|ASSISTANT|>"


def test_values_are_written_as_json_and_read_as_the_declared_type() -> None:
    @tl.app
    def app(text: str) -> City:
        return city(text)

    with tl.fake(llm, [City(name="Oslo", people=7), {"name": "Rome"}]):
        assert app("a") == City(name="Oslo", people=7)
        assert app("b") == City(name="Rome")


def test_without_replies_an_answer_fits_the_form() -> None:
    with tl.fake(answered):
        _, verdict = answered("x")
    assert verdict in ("yes", "no")


def test_an_exception_as_a_reply_is_raised_by_the_engine() -> None:
    error = EngineOverloaded("full")
    with tl.fake(llm, error), pytest.raises(NodeFailed, match="full") as caught:
        one("x")
    assert caught.value.cause is error


def test_a_prompt_that_no_pattern_is_for_is_shown() -> None:
    with tl.fake(llm, {"capital": "Paris"}), pytest.raises(NodeFailed) as caught:
        one("the weather")
    assert isinstance(caught.value.cause, NoReply)
    assert "there are 'capital'" in str(caught.value)
    assert "<|user|>Answer: the weather" in str(caught.value)


def test_more_calls_than_replies_in_order_are_told() -> None:
    with tl.fake(llm, ["only"]):
        one("x")
        with pytest.raises(NodeFailed, match=r"has 1 replies in order.*\n.*Answer: again"):
            one("again")


def test_a_function_that_gives_none_is_told() -> None:
    def script(prompt: str) -> None:
        """Forgets to return."""

    with tl.fake(llm, script), pytest.raises(NodeFailed, match=r"script\(\).* gave None"):
        one("x")


def test_a_name_stands_for_an_engine() -> None:
    with tl.fake("other", "no"), tl.fake("llm", "text"):
        assert answered("x") == ("text", "no")


def test_no_target_means_all_models_and_stores_of_all_apps() -> None:
    @tl.app
    def search(question: str) -> list[tl.Doc]:
        index = store.index([tl.Doc("cats purr"), tl.Doc("dogs bark")])
        return index.search(question, k=1)

    with tl.fake():
        assert search("cats")[0].text == "cats purr"
        assert one("x").startswith("reply ")


def test_of_nested_blocks_the_inner_one_goes_first_and_ends_with_its_block() -> None:
    with tl.fake(replies="outer"):
        with tl.fake(llm, "inner"):
            assert one("x") == "inner"
        assert one("x") == "outer"
    with pytest.raises(NodeFailed, match="127.0.0.1:9"):
        one("x")


def test_batches_streams_and_tools_that_run_apps_are_swapped_too() -> None:
    @tl.tool
    async def inside(question: str) -> str:
        return await one.arun(question)

    @tl.app
    def outer(question: str) -> str:
        return inside(question)

    with tl.fake(llm, {r"Answer: (a|b)": "letter", "": "other"}) as faked:
        assert one.batch(["a", "b", "c"]) == ["letter", "letter", "other"]
        assert [e.fields["result"] for e in one.stream("a") if e.kind == "done"] == ["letter"]
        assert outer("b") == "letter"
    assert len(faked.calls) == 5


def test_an_app_inside_an_app_and_an_agent_are_swapped() -> None:
    clerk = tl.Agent("clerk", llm, instructions="Be brief.")

    @tl.app
    def outer(question: str) -> list[str]:
        return [agent(question), clerk(question)]  # type: ignore[list-item]

    script = {"Be brief": "brief", "Is this right": "yes", "Answer": "text"}
    with tl.fake(replies=script) as faked:
        assert outer("x") == ["text", "brief"]
        assert clerk("hello") == "brief"
    assert any("hello" in prompt for prompt in faked.prompts)


def test_blocks_of_tasks_and_threads_do_not_see_each_other() -> None:
    both = threading.Barrier(2)

    async def in_task(reply: str) -> str:
        with tl.fake(llm, reply):
            await asyncio.sleep(0.01)
            return await one.arun("x")

    def in_thread(reply: str, out: list[str]) -> None:
        with tl.fake(llm, reply):
            both.wait(60)
            out.append(one("x"))
            both.wait(60)

    async def main() -> list[str]:
        return await asyncio.gather(in_task("a"), in_task("b"))

    assert asyncio.run(main()) == ["a", "b"]
    found: list[list[str]] = [[], []]
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(in_thread, name, out))
        for name, out in zip("cd", found, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["c"], ["d"]]


def test_the_optimised_and_the_plain_run_ask_the_same() -> None:
    @tl.app
    def several(topics: list[str]) -> list[str]:
        return tl.map(ask, topics)

    with tl.fake(llm, lambda prompt: prompt[-30:]) as faked:
        assert several(["a", "b"]) == several.using(optimize=False)(["a", "b"])
    assert sorted(faked.prompts[:2]) == sorted(faked.prompts[2:])


def test_the_engines_of_a_block_are_freed_with_it() -> None:
    runner = default_runner()
    with tl.fake(llm, "x"):
        one("x")
        during = [key for key in runner._runtime._engines.schedulers if "Script" in key]
    assert len(during) == 1
    for _ in range(3000):  # they are freed on the loop, a moment later
        after = [key for key in runner._runtime._engines.schedulers if "Script" in key]
        if not after:
            break
        runner._background.wait(asyncio.sleep(0.01))
    assert after == []


def test_tool_calls_are_written_as_models_write_them() -> None:
    parser = HermesParser()
    pieces = parser.feed(tl.fake.tool_call("search", query="cats", k=3))
    (call,) = [piece for piece in (*pieces, *parser.finish()) if not isinstance(piece, str)]
    assert (call.name, call.arguments) == ("search", '{"query": "cats", "k": 3}')


def test_an_agents_tools_run_as_they_are() -> None:
    def lookup(city: str) -> str:
        """Say how many people live in a city."""
        return f"{len(city)} people"

    clerk = tl.Agent("clerk", llm, tools=[lookup])
    both = tl.fake.tool_call("lookup", city="Oslo") + tl.fake.tool_call("lookup", city="Rio")
    with tl.fake(clerk, [both, "4 and 3"]) as faked:
        assert clerk("How many?") == "4 and 3"
    roles = [role for role, _ in faked.calls[1].messages]
    assert roles[-3:] == ["assistant", "tool", "tool"]
    assert "4 people" in faked.prompts[1]
    assert "3 people" in faked.prompts[1]


def test_a_program_is_swapped_like_any_app() -> None:
    @tl.program(llm)
    def chat(s: tl.State, question: str) -> str:
        s += tl.user(question)
        s += tl.select("mood", choices=["glad", "sad"])
        return s["mood"]

    with tl.fake(chat, {"funeral": "sad", "": "glad"}):
        assert (chat("a funeral"), chat("a feast")) == ("sad", "glad")


def test_what_cannot_be_swapped_or_matched_is_told() -> None:
    with pytest.raises(ConfigError, match=r"tl.fake takes a component .*got <built-in"):
        tl.fake(len)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"the key '\(', which is no regular expression"):
        tl.fake(llm, {"(": "x"})
    faked = tl.fake(llm)
    with faked, pytest.raises(RuntimeError, match="in use already"), faked:
        pass


def test_an_exception_among_the_replies_of_a_fake_model_is_raised() -> None:
    agent = tl.Agent("agent", tl.LLM("fake:", replies={"Hello": ConnectionError("no line")}))

    assert agent("Bye")
    with pytest.raises(tl.errors.NodeFailed, match="ConnectionError: no line"):
        agent("Hello")
