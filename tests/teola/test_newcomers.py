"""Mistakes of a first day, each a few lines long: the error says what, which and what to do."""

import gc
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel

import teola as tl
from teola.errors import (
    ArgumentError,
    ConfigError,
    DefinitionError,
    NodeFailed,
    SymbolicError,
    TraceError,
)

llm = tl.LLM("fake:", replies={"Plan": '{"steps": ["a", "b"]}', "": "words"})


class Plan(BaseModel):
    steps: list[str]


@tl.prompt(llm)
def ask(question: str) -> str:
    return f"Ask {question}"


@tl.prompt(llm, out=Plan)
def plan(goal: str) -> str:
    return f"Plan {goal}"


@tl.app
def fine(question: str, n: int = 1) -> str:
    return ask(question)


Mistake = Callable[[], Any]
MISTAKES: dict[str, tuple[Mistake, type[Exception], str]] = {}


def mistake(error: type[Exception], message: str) -> Callable[[Mistake], Mistake]:
    def add(function: Mistake) -> Mistake:
        MISTAKES[function.__name__] = (function, error, message)
        return function

    return add


# Any: what these lines do wrong, type checkers refuse as well.
any_prompt: Any = tl.prompt
any_program: Any = tl.program


def shout(question: str) -> str:
    return question


@mistake(TypeError, r"@tl.prompt needs an LLM, not shout\(\): write @tl.prompt\(llm\), with llm = ")
def the_llm_of_a_prompt_is_forgotten() -> None:
    any_prompt(shout)


@mistake(TypeError, r"@tl.prompt needs an LLM, not None: write @tl.prompt\(llm\)")
def the_brackets_of_a_prompt_are_empty() -> None:
    any_prompt()(shout)


@mistake(TypeError, r"not 'local:smollm2-135m': write tl.LLM\('local:smollm2-135m'\)")
def a_url_stands_for_the_llm() -> None:
    any_prompt("local:smollm2-135m")(shout)


@mistake(TypeError, r"not Embedder\('fake:'\): that is an engine of another kind")
def an_embedder_stands_for_the_llm() -> None:
    any_prompt(tl.Embedder("fake:"))(shout)


@mistake(TypeError, r"tl.Agent needs an LLM, not 'fake:': write tl.LLM\('fake:'\)")
def an_agent_gets_a_url() -> None:
    cast(Any, tl.Agent)("clerk", "fake:")


@mistake(ConfigError, r"temperature= is no option of a model.* @tl.prompt\(llm, temperature=0.2\)")
def sampling_is_given_to_the_llm() -> None:
    tl.LLM("fake:", temperature=0.2)


@mistake(ConfigError, r"unknown scheme 'http'.*write openai://HOST:PORT/v1/MODEL")
def a_servers_url_is_pasted() -> None:
    tl.LLM("http://localhost:8000/v1")


@mistake(
    TraceError, r"(?s)LLM\('fake:'\) is called like a function: write a prompt function.*llm\("
)
def a_model_is_called() -> None:
    llm("Hello")


@mistake(TraceError, r"ask\(\) is called outside of an app; call it in a @tl.app")
def a_prompt_is_called_outside_of_an_app() -> None:
    ask("x")


@mistake(TraceError, r"silent\(\) returned None; it must `return` the prompt text")
def a_prompt_returns_nothing() -> None:
    @tl.prompt(llm)
    def silent(question: str) -> str:
        f"Ask {question}"  # noqa: B021
        return None  # type: ignore[return-value]

    tl.app(_calls(silent))("x")


@mistake(TraceError, r"app app\(\) returned nothing, .* write `return ...`")
def an_app_returns_nothing() -> None:
    @tl.app
    def app(question: str) -> None:
        ask(question)

    app("x")


@mistake(DefinitionError, r"parameter 'question' of app app\(\) has no type; .* `question: str`")
def a_parameter_has_no_type() -> None:
    @tl.app
    def app(question) -> str:  # type: ignore[no-untyped-def]
        return ask(question)


@mistake(ArgumentError, r"fine\(\) needs argument 'question' \(str\)")
def an_argument_is_forgotten() -> None:
    cast(Any, fine)()


@mistake(ArgumentError, r"fine\(\) has no argument 'k'; it has n, question")
def an_argument_has_another_name() -> None:
    cast(Any, fine)("x", k=2)


@mistake(ArgumentError, r"fine\(\): argument 'n': Input should be a valid integer")
def an_argument_has_another_type() -> None:
    cast(Any, fine)("x", n="many")


@mistake(ArgumentError, r"fine.batch\(\) takes a list of calls, not 'x'")
def a_batch_is_one_text() -> None:
    fine.batch("x")


@mistake(SymbolicError, r"%ask is compared: .* `await tl.value\(...\)`")
def an_answer_is_compared() -> None:
    @tl.app
    def app(question: str) -> str:
        return "a" if ask(question) == "yes" else "b"

    app("x")


@mistake(SymbolicError, r"%steps is iterated over: .* use tl.map\(function, values\)")
def an_answer_is_iterated_over() -> None:
    @tl.app
    def app(goal: str) -> list[str]:
        return [ask(step) for step in plan(goal).steps]

    app("x")


@mistake(SymbolicError, r"Plan %plan has no field 'stepz': .* its fields are steps")
def a_field_is_misspelt() -> None:
    @tl.app
    def app(goal: str) -> Any:
        return cast(Any, plan(goal)).stepz

    app("x")


@mistake(SymbolicError, r"str %ask has no field 'upper': .* compute it in a tl.tool")
def a_method_of_a_text_is_called() -> None:
    @tl.app
    def app(question: str) -> str:
        return ask(question).upper()

    app("x")


@mistake(SymbolicError, r"json.loads\(\) reads a text .* do it in a tl.tool")
def an_answer_is_parsed_by_hand() -> None:
    @tl.app
    def app(question: str) -> Any:
        return json.loads(ask(question))

    app("x")


@mistake(SymbolicError, r"print\(\) runs once, while the app is traced")
def an_answer_is_printed() -> None:
    @tl.app
    def app(question: str) -> str:
        text = ask(question)
        print(text)
        return text

    app("x")


@mistake(TraceError, r"what is awaited here is a value .* write `await tl.value\(...\)` around")
def a_prompt_is_awaited() -> None:
    @tl.app
    async def app(question: str) -> str:
        return cast(str, await cast(Any, ask(question)))

    app("x")


@mistake(TraceError, r"a coroutine is used as a value .*'upper'.* write `await` before tl.value")
@pytest.mark.filterwarnings("ignore:coroutine 'value' was never awaited")
def the_await_before_value_is_forgotten() -> None:
    @tl.app
    async def app(question: str) -> str:
        return cast(str, cast(Any, tl.value(ask(question))).upper())

    app("x")


@mistake(TraceError, r"tl.value\(\) is for `async def` apps: write `async def`")
def value_stands_in_a_plain_app() -> None:
    @tl.app
    def app(question: str) -> Any:
        return tl.value(ask(question))

    app("x")


@mistake(TraceError, r".arun\(\) starts a run of its own: inside an app call the app itself")
def an_app_is_started_inside_an_app() -> None:
    @tl.app
    def app() -> Any:
        return fine.arun("x")

    app()


@mistake(TraceError, r"the function first: tl.map\(function, items\); got %?.*list\[str\]")
def the_arguments_of_map_are_swapped() -> None:
    @tl.app
    def app(questions: list[str]) -> Any:
        return cast(Any, tl.map)(questions, ask)

    app(["x"])


@mistake(
    TraceError, r"the tool double\(number: int\) -> int cannot be called so: missing .*'number'"
)
def a_tool_gets_another_argument() -> None:
    @tl.tool
    def double(number: int) -> int:
        return 2 * number

    @tl.app
    def app() -> int:
        return cast(Any, double)(n=1)  # type: ignore[no-any-return]

    app()


@mistake(NodeFailed, r"%length \(.*test_newcomers.py:\d+\) failed: ValueError: invalid literal")
def a_tool_raises() -> None:
    @tl.tool
    def length(text: str) -> int:
        return int(text)

    @tl.app
    def app(question: str) -> int:
        return length(question)

    app("x")


@mistake(ValueError, r"a message has the role 'system', 'user', 'assistant'.* not 'assistent'")
def a_role_is_misspelt() -> None:
    cast(Any, tl.Message)("assistent", "x")


@mistake(TraceError, r'tl.gen\("x"\) is a part of a program: write it in a function with @tl.prog')
def gen_stands_outside() -> None:
    tl.gen("x")


@mistake(TraceError, r'a tl.gen, tl.select or turn .* add it to a state, `s \+= tl.gen\("x"\)`')
def gen_is_returned_by_an_app() -> None:
    @tl.app
    def app() -> Any:
        return tl.gen("x")

    app()


@mistake(DefinitionError, r"first parameter is the state: `def program\(s: tl.State, question")
def a_program_takes_no_state() -> None:
    @any_program(llm)
    def chat(question: str) -> str:
        return question


@mistake(TypeError, r"@tl.program needs an LLM, not shout\(\): write @tl.program\(llm\)")
def the_llm_of_a_program_is_forgotten() -> None:
    any_program(shout)


@mistake(TraceError, r"""s\["anwser"\] is not there: .*there are: 'answer'""")
def a_variable_of_a_program_is_misspelt() -> None:
    @tl.program(llm)
    def chat(s: tl.State, question: str) -> str:
        s += tl.user(question)
        s += tl.gen("answer")
        return s["anwser"]

    chat("x")


@mistake(NodeFailed, r"there is no file or folder 'nofile.txt'")
def a_file_is_missing() -> None:
    @tl.app
    def app(files: list[str]) -> list[tl.Doc]:
        return tl.load(files)

    app(["nofile.txt"])


@mistake(NodeFailed, r"127.0.0.1:9.*no connection; is the server running, and is this its address")
def the_server_is_not_running() -> None:
    away = tl.LLM("openai://127.0.0.1:9/v1/small")

    @tl.app
    def app(question: str) -> str:
        return ask.using(llm=away)(question)

    app("x")


def _calls(function: Callable[[str], str]) -> Callable[[str], str]:
    def app(question: str) -> str:
        return function(question)

    return app


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.filterwarnings("ignore:coroutine 'value' was never awaited")
def test_a_mistake_is_told_with_what_to_do(name: str) -> None:
    make, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        make()
    if "await" in name:
        gc.collect()  # else the forgotten coroutine is told of whichever test comes later


def test_errors_of_a_tool_that_an_app_awaits_stay_its_own() -> None:
    @tl.tool
    def broken() -> str:
        raise TypeError("'coroutine' object is not what it says")

    @tl.app
    async def app() -> str:
        try:
            return await tl.value(broken())
        except TypeError as error:
            return str(error)

    assert app() == "'coroutine' object is not what it says"
