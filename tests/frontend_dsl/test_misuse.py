"""Wrong use is told at once, with the line and the way out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

import teola as tl
from teola.errors import ArgumentError, ConfigError, OutputInvalid, SymbolicError, TraceError

llm = tl.LLM("fake:")


class Plan(BaseModel):
    steps: list[str]


@tl.prompt(llm, out=Plan)
def plan(goal: str) -> str:
    return f"Plan {goal}"


def test_using_a_run_time_value_names_the_line_and_the_way_out() -> None:
    @tl.app
    def app(goal: str) -> str:
        if plan(goal).steps:  # the line
            return "some"
        return "none"

    with pytest.raises(SymbolicError) as caught:
        app.graph()
    assert "test_misuse.py" in caught.value.file
    assert caught.value.line == app._function.__code__.co_firstlineno + 2
    assert "if plan(goal).steps:" in str(caught.value)
    assert "tl.cond" in str(caught.value)


MISUSES: dict[str, Callable[[Any], Any]] = {
    "iterated": lambda v: list(v),
    "len()": lambda v: len(v),
    "'in'": lambda v: "x" in v,
    "'+'": lambda v: [*v, "x"],
    "compared": lambda v: v == ["x"],
    "number": lambda v: int(v),
    "called": lambda v: v(),
    "no field": lambda v: v.append("x"),
    "constant": lambda v: v[1.5],
    "format spec": lambda v: f"{v:>10}",
    "condition": lambda v: not v,
}


@pytest.mark.parametrize("what", MISUSES)
def test_each_misuse_has_its_own_message(what: str) -> None:
    @tl.app
    def app(goal: str) -> str:
        return str(MISUSES[what](plan(goal).steps))

    with pytest.raises(SymbolicError, match="known only when the app runs") as caught:
        app.graph()
    assert what in str(caught.value)


def test_a_prompt_function_outside_of_an_app_says_so() -> None:
    with pytest.raises(TraceError, match=r"plan\(\) is called outside of an app"):
        plan("x")


@pytest.mark.parametrize("returned", ["", "  \n", None, 3])
def test_a_prompt_function_must_return_text(returned: object) -> None:
    @tl.prompt(llm)
    def bad(goal: str) -> str:
        return returned  # type: ignore[return-value]

    @tl.app
    def app(goal: str) -> str:
        return bad(goal)

    with pytest.raises(TraceError, match=r"bad\(\) returned"):
        app.graph()


def test_an_app_that_returns_nothing_says_so() -> None:
    @tl.app
    def app(goal: str) -> None:
        plan(goal)

    with pytest.raises(TraceError, match="returned nothing"):
        app.graph()


def test_a_vector_search_without_an_embedder_says_what_to_do() -> None:
    bare = tl.Store("fake:")

    @tl.app
    def app(goal: str) -> list[tl.Doc]:
        return bare.search(goal)

    with pytest.raises(TraceError, match='search with mode="bm25"'):
        app.graph()


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown scheme 'nowhere'.*fake:, hf:, local:"):
        tl.LLM("nowhere:model")


def test_a_url_without_a_scheme_is_corrected() -> None:
    with pytest.raises(ConfigError, match="'local:smollm2-135m'"):
        tl.LLM("smollm2-135m")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda app: app(), r"needs argument 'goal'"),
        (lambda app: app("x", speed=3), r"no argument 'speed'; it has goal, n"),
        (lambda app: app("x", n="many"), r"argument 'n': Input should be a valid integer"),
        (lambda app: app(3), r"argument 'goal': Input should be a valid string"),
        (lambda app: app("x", 1, 2), r"takes 2 arguments; got 3"),
        (lambda app: app("x", goal="y"), r"'goal' twice"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[Any], Any], message: str) -> None:
    @tl.app
    def app(goal: str, n: int = 1) -> str:
        return plan(goal).steps[0]

    with pytest.raises(ArgumentError, match=message):
        call(app)


def test_an_app_parameter_needs_a_type() -> None:
    with pytest.raises(TypeError, match="parameter 'goal' of app untyped"):

        @tl.app
        def untyped(goal) -> str:  # type: ignore[no-untyped-def]
            return "x"


def test_an_output_type_without_a_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="has no JSON schema"):

        @tl.prompt(llm, out=type(lambda: 0))
        def bad(goal: str) -> str:
            return goal


@pytest.mark.parametrize("sampling", [{"temperature": -1}, {"max_tokens": 0}, {"top_p": 0}])
def test_impossible_sampling_is_refused(sampling: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need temperature >= 0"):
        tl.prompt(llm, **sampling)


def test_a_value_of_another_trace_is_refused() -> None:
    kept: list[Any] = []

    @tl.app
    def first(goal: str) -> str:
        kept.append(goal)
        return plan(goal).steps[0]

    @tl.app
    def second(goal: str) -> str:
        return plan(kept[0]).steps[0]

    first.graph()
    with pytest.raises(TraceError, match="comes from another trace"):
        second.graph()


@dataclass
class Box:
    text: Any


LEAKS: dict[str, Callable[[Any], Any]] = {
    "repr in a prompt": lambda q: ask(f"{q!r}"),
    "upper": lambda q: ask(f"about {q}".upper()),
    "slice": lambda q: ask(f"about {q}"[:12]),
    "join template": lambda q: tl.join(["a"], f"{q}: {{text}}"),
    "join text": lambda q: ", ".join([q, q]),
    "count": lambda q: bare.search("x", mode="bm25", k=q),
    "object": lambda q: ask(Box(q)),
    "model": lambda q: Plan(steps=[q]),
}

bare = tl.Store("fake:")


@tl.prompt(llm)
def ask(text: Any) -> str:
    return f"Ask {text}" if isinstance(text, str) else tl.join([text])


@pytest.mark.parametrize("what", LEAKS)
def test_no_symbolic_value_leaks_into_constants(what: str) -> None:
    @tl.app
    def app(goal: str) -> Any:
        return LEAKS[what](goal)

    with pytest.raises(SymbolicError) as caught:
        app.graph()
    assert "test_misuse.py" in caught.value.file


def test_values_nested_in_lists_and_dicts_are_found() -> None:
    @tl.app
    def app(goal: str) -> Any:
        return {"a": [goal, {"b": (goal, "x")}]}

    ops = [node.op for node in app.graph().nodes]
    assert ops == ["input", "pack", "pack", "pack", "pack"]


def test_a_parameter_must_have_a_plain_name_and_be_callable_by_it() -> None:
    with pytest.raises(TypeError, match="letters A to Z"):

        @tl.app
        def app(größe: str) -> str:
            return größe

    with pytest.raises(TypeError, match="positional-only"):

        @tl.app
        def other(goal: str, /) -> str:
            return goal


def test_an_unknown_option_lists_the_known_ones() -> None:
    @tl.app
    def app(goal: str) -> str:
        return goal

    with pytest.raises(TypeError, match="no option 'optimise'; it has optimize"):
        app.using(optimise=False)


def test_schemas_of_models_are_closed() -> None:
    schema = plan._form.held_to["schema"]
    assert isinstance(schema, dict)
    assert schema["additionalProperties"] is False


def test_an_answer_outside_of_its_limits_names_the_type_as_people_do() -> None:
    @tl.prompt(
        tl.LLM("fake:", replies={"": '["x"]'}), out=Annotated[list[str], Field(min_length=2)]
    )
    def names(topic: str) -> str:
        return f"Names of {topic}"

    @tl.app
    def app(topic: str) -> list[str]:
        return names(topic)

    with pytest.raises(OutputInvalid, match=r"the model's text is not a list\[str\]: "):
        app("x")
