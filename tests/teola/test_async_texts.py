"""`async def` apps: texts are texts, and few shapes are compiled whatever they say."""

import gc
import json
import weakref
from typing import Literal

import pytest
from pydantic import BaseModel

import teola as tl
from frontend_dsl.app import App
from teola.errors import SymbolicError

llm = tl.LLM("fake:")
scripted = tl.LLM(
    "fake:",
    replies={
        "Observation: 42": '{"tool": "finish", "arg": "42"}',
        "Question": '{"tool": "calc", "arg": "6*7"}',
    },
)


class Step(BaseModel):
    tool: Literal["calc", "finish"]
    arg: str


@tl.prompt(llm)
def reply(history: str) -> str:
    return f"Chat:{history}"


@tl.prompt(llm)
def rate(draft: str, number: float) -> str:
    return f"Rate {draft} with {number}\nAnswer:"


@tl.prompt(scripted, out=Step, system="Use tools.")
def think(question: str, scratch: str) -> str:
    return f"Question: {question}\n{scratch}"


@tl.tool
def calc(expression: str) -> str:
    assert type(expression) is str
    return {"6*7": "42"}[expression]


@tl.tool(pure=True)
def kind_of(value: object) -> str:
    return type(value).__name__


def num_shapes(app: "App[..., object]") -> int:
    return len(app._segments)


def prompts_of(app: "App[..., object]", **arguments: str) -> list[str]:
    """The graphs of the prefills of one run."""
    graphs = [event.fields["graph"] for event in app.stream(**arguments) if event.kind == "query"]
    lines = [line.strip() for graph in graphs for line in graph.splitlines()]
    return [line for line in lines if " = prefill " in line]


def test_arguments_and_awaited_values_are_ordinary_texts() -> None:
    @tl.app
    async def app(name: str, tags: list[str]) -> str:
        assert {type(text) for text in (name, *tags)} == {str}
        answer = await tl.value(reply(name))
        assert type(answer) is str
        assert f"<{answer}>" == "<" + answer + ">"
        log = f"{name} said hi"
        assert "Bob" in log
        assert (log[:3], len(log)) == ("Bob", 11)
        assert json.dumps({"q": f"{name}"}) == '{"q": "Bob"}'
        return f"{name}.txt"

    assert app("Bob", ["a", "b"]) == "Bob.txt"


def test_the_model_reads_what_python_says() -> None:
    @tl.app
    async def app(name: str) -> str:
        return reply(json.dumps({"name": name.upper()[:2]}))

    @tl.app
    def same(text: str) -> str:
        return reply(text)

    assert app("Bob") == same('{"name": "BO"}')


def test_an_agent_that_loops_over_tools_compiles_two_shapes() -> None:
    @tl.app
    async def react(question: str) -> str:
        scratch = ""
        for _ in range(4):
            step = await tl.value(think(question, scratch))
            if step.tool == "finish":
                return step.arg
            seen = await tl.value(calc(step.arg))
            scratch += f"\nAction: {step.arg}\nObservation: {seen}"
        return "gave up"

    assert {react(f"q{i} what is 6*7") for i in range(20)} == {"42"}
    assert num_shapes(react) <= 3


def test_a_growing_history_compiles_few_shapes() -> None:
    @tl.app
    async def chat(messages: list[str]) -> str:
        history = ""
        for message in messages:
            history += f"\nuser: {message}"
            history += f"\nbot: {await tl.value(reply(history))}"
        return history

    text = chat([f"message {i}" for i in range(100)])
    assert text.count("\nbot: reply") == 100
    for i in range(10):
        chat([f"hello {i}", "and?", "more"])
    assert num_shapes(chat) <= 3


def test_numbers_lists_and_models_in_calls_are_inputs_too() -> None:
    @tl.app
    async def app(start: str) -> list[str]:
        found = []
        for i in range(20):
            found.append(await tl.value(kind_of(i)))
            found.append(await tl.value(kind_of([i, {"n": i / 7}])))
            found.append(await tl.value(kind_of(Step(tool="calc", arg=f"{start}{i}"))))
        return found

    assert app("x") == ["int", "list", "Step"] * 20
    assert num_shapes(app) == 3


def test_what_a_run_defines_itself_is_kept_by_no_one() -> None:
    kept: list[weakref.ref[object]] = []

    @tl.app
    async def app(text: str) -> str:
        class Big:
            pass

        big = Big()

        @tl.tool(pure=True)
        def own(text: str) -> str:
            return f"{text} of {type(big).__name__}"

        kept.append(weakref.ref(big))
        return await tl.value(own(text))

    run = app.using(memo=False)  # what was computed keeps its function too, within its own bounds
    assert {run("x") for _ in range(80)} == {"x of Big"}
    gc.collect()
    assert num_shapes(app) == 1
    assert sum(ref() is not None for ref in kept) < 40  # a thread holds its last call


def test_a_tool_that_is_defined_again_is_seen() -> None:
    @tl.app
    async def app(text: str) -> str:
        return await tl.value(tools[0](text))

    tools = [tl.tool(lambda text: text + "1", name="t"), tl.tool(lambda text: text + "2", name="t")]
    assert app("x") == "x1"
    del tools[0]
    assert app("x") == "x2"


def test_real_values_keep_their_kind_on_the_way_to_a_tool() -> None:
    @tl.app
    async def app(text: str) -> list[str]:
        values = ((1, 2), {1: "a"}, {"a", text}, b"x", 1.5, True)
        return [kind_of(value) for value in values]

    assert app("x") == ["tuple", "dict", "set", "bytes", "float", "bool"]


def test_a_tool_gets_a_list_as_it_was_when_it_was_called() -> None:
    @tl.tool(pure=True)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @tl.app
    async def app(text: str) -> list[int]:
        numbers = [1, 2]
        first = total(numbers)
        numbers.append(len(text))
        return [first, total(numbers)]

    assert app("four") == [3, 7]


def test_a_prompt_is_cut_at_its_own_words() -> None:
    @tl.app
    async def app(topic: str, other: str) -> str:
        return rate(f"a text on {topic} and {other}", 0.5)

    (line,) = prompts_of(app, topic="tea", other="cake")
    assert '@user "Rate" @sp %given " with" @sp %given_2 "\\nAnswer:" @assistant' in line


def test_a_text_that_holds_the_prompts_words_again_has_the_same_head() -> None:
    from frontend_dsl.template import constants_of, cut_text

    constants = constants_of(rate._function)
    assert constants == ("Rate ", " with ", "\nAnswer:")
    once = list(cut_text("Rate x with 1\nAnswer:", constants))
    again = list(cut_text("Rate x with 1\nAnswer:\nRate y with 2\nAnswer:", constants))
    assert [text for text, _ in once] == ["Rate ", "x", " with ", "1", "\nAnswer:"]
    assert [is_own for _, is_own in once] == [True, False, True, False, True]
    assert again[: len(once)] == once
    assert "".join(part for part, _ in again) == "Rate x with 1\nAnswer:\nRate y with 2\nAnswer:"


def test_values_that_were_not_awaited_stay_values_in_later_prompts() -> None:
    @tl.app
    async def app(topic: str) -> str:
        late = reply(topic)
        await tl.value(reply("first"))
        return rate(f"{topic}: {late}", 1)

    @tl.app
    def same(topic: str) -> str:
        return rate(f"{topic}: {reply(topic)}", 1)

    assert app("tea") == app.using(optimize=False)("tea") == same("tea")


def test_a_value_of_an_earlier_segment_in_a_text_is_not_forgotten() -> None:
    @tl.app
    async def app(topic: str) -> str:
        late = reply(topic)
        await tl.value(reply("first"))
        text = f"<{late}>"
        del late
        gc.collect()
        return f"{kind_of(text)}{text}"

    assert app("tea") == f"str<{reply_text('tea')}>"


def test_zeros_of_either_sign_are_two_inputs() -> None:
    @tl.tool(pure=True)
    def text_of(number: float) -> str:
        return str(number)

    @tl.app
    async def app(topic: str) -> list[str]:
        return [text_of(0.0), text_of(-0.0), text_of(0), text_of(False), text_of(float("nan"))]

    assert app("x") == ["0.0", "-0.0", "0", "False", "nan"]


def test_a_text_cut_up_with_a_value_in_it_is_refused() -> None:
    @tl.app
    async def app(topic: str) -> str:
        return rate(str.__getitem__(f"{reply(topic)}", slice(3)), 1)

    with pytest.raises(SymbolicError, match="test_async_texts.py"):
        app("x")


def test_a_field_of_a_value_of_an_earlier_segment_can_be_used() -> None:
    @tl.app
    async def app(question: str) -> str:
        step = think(question, "")
        await tl.value(reply("break"))
        return calc(step.arg)

    assert app("x") == "42"


def test_results_keep_their_kind() -> None:
    @tl.app
    async def app(topic: str) -> object:
        value = reply(topic)
        return {1: (value, f"<{value}>"), "n": [1, (2,)]}

    one = reply_text("tea")
    assert app("tea") == {1: (one, f"<{one}>"), "n": [1, (2,)]}


def test_equal_calls_are_each_given_their_value() -> None:
    @tl.app
    async def app(topic: str) -> tuple[str, str]:
        first, second = reply(topic), reply(topic)
        return await tl.value(first), await tl.value(second)

    one = reply_text("tea")
    assert app("tea") == (one, one)


def reply_text(topic: str) -> str:
    @tl.app
    def app(topic: str) -> str:
        return reply(topic)

    return app(topic)
