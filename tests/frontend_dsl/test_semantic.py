"""Semantic functions as graphs, and what is refused when they are defined and called."""

from textwrap import dedent
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

import teola as tl
from teola.errors import DefinitionError, SymbolicError, TraceError, VariableError

llm = tl.LLM("fake:")


class Joke(tl.Outputs):
    joke: Annotated[tl.Variable[str], tl.Output(max_tokens=20, temperature=0.5)]
    funny: tl.Variable[bool]


@tl.semantic(llm, out=Joke, max_tokens=9)
def tell(topic: tl.Input[str]) -> None:
    """Tell a joke about {{topic}}: {{joke}}
    Is it funny? {{funny}}"""


@tl.semantic(llm)
def shorten(text: tl.Input[str], words: int = 5) -> None:
    """Shorten to {{words}} words: {{text}} {{output:short}}"""


def body(app: tl.App[..., Any]) -> str:
    """The graph's nodes, without inputs and contexts."""
    lines = str(app.graph()).splitlines()[1:-2]
    kept = [line.strip() for line in lines if "= input" not in line and "= context" not in line]
    return "\n".join(kept)


def test_outputs_are_filled_in_turn_in_one_context_each_with_its_sampling_and_type() -> None:
    @tl.app
    def app(topic: str) -> list[Any]:
        told = tell(topic)
        return [told.joke.value, told.funny.value]

    assert body(app) == dedent(
        """\
        %joke.prompt = prefill %joke.empty @user "Tell a joke about" @sp %topic ":" @assistant [engine="llm"]
        %joke, %joke.context = decode %joke.prompt [engine="llm", max_tokens=20, temperature=0.5]
        %funny.prompt = prefill %joke.context @user "Is it funny?" @assistant [engine="llm"]
        %funny.json, %funny.context = decode %funny.prompt [engine="llm", max_tokens=9, schema={"type": "boolean"}]
        %funny = parse %funny.json [type="bool"]
        %list = pack %joke %funny"""  # noqa: E501
    )


def test_a_template_without_turns_is_one_text() -> None:
    story = tl.semantic(
        llm, "Once {{input:who}} said{{output:what}}and left{{output:end}}", chat=False
    )

    @tl.app
    def app(who: str) -> str:
        return story(who=who).end.value  # type: ignore[no-any-return]

    assert '"Once" @sp %who " said"' in body(app)
    assert '%end.prompt = prefill %what.context "and left" [engine="llm"]' in body(app)
    assert "@user" not in body(app)


def test_plain_arguments_are_text_of_the_prompt_and_keep_their_neighbours() -> None:
    @tl.app
    def app(text: str, words: int = 3) -> str:
        return shorten(text, words).value

    assert 'prefill %shorten.empty @user "Shorten to 3 words:" @sp %text @assistant' in body(app)


def test_the_system_turn_comes_first_and_once() -> None:
    both = tl.semantic(llm, "A {{output:a}} B {{output:b}}", system="Be brief.")

    @tl.app
    def app() -> str:
        return both().b.value  # type: ignore[no-any-return]

    assert 'prefill %a.empty @system "Be brief." @user "A" @assistant' in body(app)
    assert body(app).count("@system") == 1


def test_using_changes_what_outputs_do_not_say_themselves() -> None:
    @tl.app
    def app(topic: str) -> bool:
        return tell.using(temperature=0.9, max_tokens=3)(topic).funny.value

    assert '[engine="llm", max_tokens=20, temperature=0.5]' in body(app)
    assert 'max_tokens=3, schema={"type": "boolean"}, temperature=0.9' in body(app)


def test_a_call_before_its_input_is_filled_is_emitted_behind_the_producer() -> None:
    @tl.app
    def app(topic: str) -> str:
        draft = tl.variable(name="draft")
        short = shorten(draft)
        draft.set(tell(topic).joke.value)
        return short.value

    lines = body(app).splitlines()
    assert lines[-2].startswith("%shorten.prompt = prefill %shorten.empty @user")
    assert "%joke @assistant" in lines[-2]
    origins = {node.name: node.origin.line for node in app.graph().nodes if node.origin}
    assert origins["shorten"] < origins["joke"]  # each names its own call


def test_an_output_parameter_is_the_variable_to_fill() -> None:
    @tl.semantic(llm)
    def write(topic: str, story: tl.Variable[str] | None = None) -> None:
        """Write about {{topic}} {{story}}"""

    @tl.app
    def app(topic: str) -> str:
        story = tl.variable()
        short = shorten(story)
        write(topic, story)
        return short.value

    assert '"Shorten to 5 words:" @sp %write @assistant' in body(app)


def test_tools_and_prompt_functions_wait_for_variables_too() -> None:
    @tl.tool(pure=True)
    def shout(text: str) -> str:
        return text.upper()

    @tl.prompt(llm)
    def answer(text: str) -> str:
        return f"Answer {text} now"

    @tl.app
    def app(topic: str) -> str:
        story = tl.variable()
        loud = shout(story.value)
        said = answer(loud)
        story.set(shorten(topic).value)
        return said

    lines = body(app).splitlines()
    assert "%shout = call %shorten" in lines[2]
    assert '"Answer" @sp %shout " now"' in lines[3]


def test_a_variable_set_to_a_constant_is_text_of_prompts() -> None:
    @tl.app
    def app() -> str:
        text = tl.variable()
        short = shorten(text)
        text.set("a long story")
        return short.value

    assert '@user "Shorten to 5 words: a long story" @assistant' in body(app)


def test_variables_made_in_a_circle_are_an_error_that_names_them() -> None:
    step = tl.semantic(llm, "From {{input:x}} {{output:y}}", name="step")

    @tl.app
    def app() -> str:
        first, second = tl.variable(name="first"), tl.variable(name="second")
        step(first, y=second)
        step(second, y=first)
        return first.value

    with pytest.raises(
        VariableError, match="in a circle.*'first' from 'second' from 'first'"
    ) as told:
        app.graph()
    assert 'tl.variable(name="first")' in str(told.value)


def test_a_variable_that_nobody_fills_is_an_error_with_its_line() -> None:
    @tl.app
    def app() -> str:
        lost = tl.variable(name="lost")
        return shorten(lost).value

    with pytest.raises(VariableError, match=r"variable 'lost' is read by shorten\(\)") as told:
        app.graph()
    assert 'lost = tl.variable(name="lost")' in str(told.value)


def test_a_body_of_a_map_must_fill_what_its_calls_read() -> None:
    @tl.app
    def app(texts: list[str]) -> list[str]:
        later = tl.variable(name="later")
        shorts = tl.map(lambda text: shorten(f"{text} {later}").value, texts)
        later.set("too late")
        return shorts

    with pytest.raises(VariableError, match="'later' is read by shorten"):
        app.graph()


def test_a_variable_used_before_it_is_filled_by_what_cannot_wait_is_an_error() -> None:
    @tl.app
    def app() -> list[str]:
        texts = tl.variable(list[str], name="texts")
        return tl.map(lambda text: shorten(text).value, texts.value)

    with pytest.raises(VariableError, match="'texts' is used before any call fills it"):
        app.graph()


def test_a_variable_is_filled_once() -> None:
    @tl.app
    def app() -> str:
        text = tl.variable(name="text")
        text.set("a")
        text.set("b")
        return text.value

    with pytest.raises(VariableError, match="'text' is filled already"):
        app.graph()


class Queries(BaseModel):
    queries: list[str]


def test_a_json_field_of_a_model_streams_its_elements() -> None:
    output = tl.Output(Queries, transform=tl.transforms.json_field("queries"))
    expand = tl.semantic(llm, "Expand {{input:q}} {{output:queries}}", outputs={"queries": output})

    @tl.app
    def app(q: str) -> list[str]:
        return tl.map(lambda query: shorten(query).value, expand(q).value)

    assert "elements" in str(app.plan().after)


@pytest.mark.parametrize(
    ("define", "reason"),
    [
        (lambda: tl.semantic(llm, "Say {{input:x}}"), "it has no output"),
        (lambda: tl.semantic(llm, "Say {{output:x}}", out=Joke), "has no output 'joke'"),
        (lambda: tl.semantic(llm, "{{output:x}}"), "nothing stands before the output 'x'"),
        (
            lambda: tl.semantic(llm, "Say {{output:x}}", outputs={"y": tl.Output()}),
            "has no output 'y'",
        ),
        (lambda: tl.semantic(llm, "Say {{output:x}}", temperature=-1.0), "temperature >= 0"),
    ],
)
def test_a_definition_that_makes_no_sense_says_so(define: Any, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        define()


def test_a_decorated_function_has_a_docstring_no_body_and_the_templates_names() -> None:
    def no_docstring(x: str) -> None: ...

    def with_body(x: str) -> None:
        """Say {{x}} {{output:y}}"""
        print(x)

    def other_names(z: str) -> None:
        """Say {{x}} {{output:y}}"""

    def several(x: str) -> None:
        """Say {{x}} {{output:y}} and {{output:z}}"""

    for function, reason in (
        (no_docstring, "docstring is the template"),
        (with_body, "its body never runs"),
        (other_names, "parameter 'z' does not stand in the template"),
        (several, "declare them in a subclass of tl.Outputs"),
    ):
        with pytest.raises(DefinitionError, match=reason):
            tl.semantic(llm)(function)


def test_a_call_with_other_inputs_names_the_function() -> None:
    @tl.app
    def app() -> str:
        return shorten(topic="x").value  # type: ignore[call-arg]

    with pytest.raises(TraceError, match=r"shorten\(text.*cannot be called so: missing"):
        app.graph()


def test_a_criterion_is_one_of_two() -> None:
    @tl.app
    def app() -> str:
        return shorten("x").get("soon").value  # type: ignore[arg-type]

    with pytest.raises(TraceError, match=r"tl.LATENCY or tl.THROUGHPUT, not 'soon'"):
        app.graph()


def test_a_text_that_holds_a_variable_cannot_be_looked_into() -> None:
    def looks(x: str) -> str:
        return "yes" if "short" in f"{shorten(x)}" else "no"

    def looks_at_a_field(x: str) -> str:
        told = tell(x)
        return "yes" if "short" in f"{told.joke}" else "no"

    def looks_at_a_variable() -> str:
        draft = tl.variable()
        return "yes" if "short" in f"{draft}" else "no"

    for function in (looks, looks_at_a_field, looks_at_a_variable):
        with pytest.raises(SymbolicError):
            tl.app(function).graph()


def test_a_variable_is_no_key_in_a_def_app() -> None:
    @tl.app
    def app(x: str) -> str:
        return {"a": "b"}[shorten(x).value]

    with pytest.raises(SymbolicError, match="looked up"):
        app.graph()
