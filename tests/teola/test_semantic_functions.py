"""Semantic functions that run: Parrot's examples on the fake model, and one on a real one."""

import asyncio
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

import teola as tl
from runtime.events import Event
from teola.errors import DefinitionError, NodeFailed, SymbolicError, TraceError, VariableError

llm = tl.LLM(
    "fake:",
    replies={
        r"funny\?<\|assistant\|>$": "It is absurd.",
        r"joke about a llama:<\|assistant\|>$": "  Two llamas walk.  ",
        r"Translate .*Two llamas walk": "Zwei Lamas gehen.",
        r"Summarize: first": "one",
        r"Summarize: second": "two",
        r"Merge: one, two": "one and two",
        r"Merge: ": "something else",
        r"Grade": 'I think {"score": 7, "tags": ["a", "b"]} is fair.',
        r"Words": '{"words": ["red", "green"]}',
        r"List": "x; y;; z",
        r"Number": "The answer is 42, surely.",
        r"Once there was (.*) who said$": "hello",
        r"hello and then$": "left",
    },
)
both_ways = pytest.mark.parametrize("optimize", [True, False])
transforms = tl.transforms


class Joke(tl.Outputs):
    joke: Annotated[tl.Variable[str], tl.Output(transform=transforms.strip())]
    reason: tl.Variable[str]


@tl.semantic(llm, out=Joke)
def tell(topic: tl.Input[str]) -> None:
    """Tell a joke about {{topic}}: {{joke}}
    Why is it funny? {{reason}}"""


@tl.semantic(llm)
def translate(text: tl.Input[str], language: str) -> None:
    """Translate to {{language}}: {{text}} {{output:translated}}"""


@tl.semantic(llm)
def summarize(chunk: tl.Input[str]) -> None:
    """Summarize: {{input:chunk}} {{output:summary}}"""


@tl.semantic(llm)
def merge(summaries: tl.Input[str]) -> None:
    """Merge: {{summaries}} {{output:merged}}"""


@both_ways
def test_several_outputs_are_filled_in_one_conversation(optimize: bool) -> None:
    @tl.app
    def app(topic: str) -> tuple[str, str]:
        told = tell(topic)
        return told.joke.value, told.reason.value

    assert app.using(optimize=optimize)("a llama") == ("Two llamas walk.", "It is absurd.")


@both_ways
def test_a_chain_of_two_functions_passes_the_variable(optimize: bool) -> None:
    @tl.app
    def app(topic: str) -> str:
        return translate(tell(topic).joke, "German").get(tl.LATENCY).value

    assert app.using(optimize=optimize)("a llama") == "Zwei Lamas gehen."


@both_ways
def test_map_and_reduce(optimize: bool) -> None:
    @tl.app
    def app(chunks: list[str]) -> str:
        summaries = tl.map(lambda chunk: summarize(chunk).value, chunks)
        return merge(tl.join(summaries, sep=", ")).value

    assert app.using(optimize=optimize)(["first", "second"]) == "one and two"


@both_ways
def test_functions_called_in_the_order_of_their_use_not_of_their_making(optimize: bool) -> None:
    @tl.app
    def app(topic: str) -> list[str]:
        joke = tl.variable()
        german = translate(joke, "German")
        longer = merge(f"{joke} {german}")
        joke.set(tell(topic).joke.value)
        return [german.value, longer.value]

    assert app.using(optimize=optimize)("a llama") == ["Zwei Lamas gehen.", "something else"]


@both_ways
def test_an_async_app_awaits_variables_and_goes_on_with_real_ones(optimize: bool) -> None:
    @tl.app
    async def app(topic: str) -> list[str]:
        joke = tl.variable()
        german = translate(joke, "German")
        told = tell(topic)
        joke.set(told.joke.value)
        real = await told.joke.get(tl.LATENCY)
        assert type(real) is str
        assert await told.joke == real
        again = translate(real, "German")
        return [await german, await again, await told.reason.get()]

    expected = ["Zwei Lamas gehen.", "Zwei Lamas gehen.", "It is absurd."]
    assert app.using(optimize=optimize)("a llama") == expected


def test_a_call_waits_across_the_breaks_of_an_async_app() -> None:
    @tl.app
    async def app(topic: str) -> str:
        joke = tl.variable()
        german = translate(joke, "German")
        assert await summarize("first") == "one"
        joke.set(await tell(topic).joke)
        return await german

    assert app("a llama") == "Zwei Lamas gehen."


def test_an_async_app_says_which_variable_nobody_fills() -> None:
    @tl.app
    async def awaits() -> str:
        return await tl.variable(name="lost")

    @tl.app
    async def forgets() -> str:
        translate(tl.variable(name="lost"), "German")
        return "done"

    for app in (awaits, forgets):
        with pytest.raises(VariableError, match="'lost'"):
            app()


@both_ways
def test_a_variable_is_the_result_of_an_async_app(optimize: bool) -> None:
    @tl.app
    async def app(topic: str) -> str:
        return tell(topic).reason.value

    assert app.using(optimize=optimize)("a llama") == "It is absurd."


def test_outside_of_an_app_a_call_runs_at_once() -> None:
    told = tell("a llama")
    assert told.joke.value == f"{told.joke}" == "Two llamas walk."
    assert [variable.value for variable in told] == ["Two llamas walk.", "It is absurd."]
    assert translate(told.joke, "German").get(tl.LATENCY).value == "Zwei Lamas gehen."

    joke = tl.variable()
    tl.semantic(llm, "Tell a joke about {{x}}: {{output:y}}")("a llama", y=joke)
    assert translate(joke, "German").value == "Zwei Lamas gehen."

    async def awaiting() -> str:
        return await translate(told.joke, "German").get()

    assert asyncio.run(awaiting()) == "Zwei Lamas gehen."


def test_tools_and_apps_called_outside_take_the_real_value_of_a_variable() -> None:
    @tl.tool
    def shout(text: str, end: str = "!") -> str:
        return text.upper() + end

    @tl.app
    def app(text: str) -> str:
        return shout(text)

    joke: Any = tell("a llama").joke
    assert shout(joke) == shout(text=joke) == app(joke) == app(text=joke) == "TWO LLAMAS WALK.!"


def test_outputs_are_returned_one_by_one() -> None:
    @tl.app
    def app(topic: str) -> Any:
        return tell(topic)

    with pytest.raises(SymbolicError, match="holds a value of the run; use that value itself"):
        app("a llama")


def test_outside_of_an_app_nothing_can_fill_a_variable_later() -> None:
    with pytest.raises(VariableError, match="cannot wait for variable 'later'.*in a @tl.app"):
        summarize(tl.variable(name="later"))
    with pytest.raises(VariableError, match="use it in a @tl.app"):
        f"{tl.variable(name='later')}"


class Score(BaseModel):
    score: int


@both_ways
@pytest.mark.parametrize(
    ("template", "output", "expected"),
    [
        ("Grade it. {{output:x}}", tl.Output(transform=transforms.json_field("score")), 7),
        ("Grade it. {{output:x}}", tl.Output(transform=transforms.json_field("tags")), ["a", "b"]),
        ("List it. {{output:x}}", tl.Output(transform=transforms.split(";")), ["x", "y", "z"]),
        ("Number it. {{output:x}}", tl.Output(transform=transforms.regex(r"is (\d+)")), "42"),
        ("Number it. {{output:x}}", tl.Output(transform=transforms.regex(r"\d+")), "42"),
        ("Number it. {{output:x}}", tl.Output(transform=[transforms.regex(r"\d+"), int]), 42),
        ("Number it. {{output:x}}", tl.Output(transform=str.upper), "THE ANSWER IS 42, SURELY."),
    ],
)
def test_what_was_written_is_transformed(
    template: str, output: tl.Output, expected: Any, optimize: bool
) -> None:
    function = tl.semantic(llm, template, outputs={"x": output})

    @tl.app
    def app() -> Any:
        return function().value

    assert app.using(optimize=optimize)() == expected


def test_a_declared_type_holds_what_a_json_field_says() -> None:
    output = tl.Output(str, transform=transforms.json_field("score"))
    function = tl.semantic(llm, "Grade it. {{output:x}}", out=str, outputs={"x": output})

    @tl.app
    def app() -> str:
        return function().value

    with pytest.raises(NodeFailed, match="json_field"):  # 7 is no text
        app()


@pytest.mark.parametrize("transform", [transforms.regex("nothing"), transforms.json_field("x")])
def test_a_text_without_what_a_transform_looks_for_fails_the_call(transform: Any) -> None:
    outputs = {"x": tl.Output(transform=transform)}
    function = tl.semantic(llm, "Number it. {{output:x}}", outputs=outputs)

    @tl.app
    def app() -> Any:
        return function().value

    with pytest.raises(NodeFailed, match="42, surely"):
        app()


class Words(BaseModel):
    words: list[str]


@both_ways
def test_the_elements_of_a_json_field_are_used_one_by_one(optimize: bool) -> None:
    output = tl.Output(Words, transform=transforms.json_field("words"))
    words = tl.semantic(llm, "Words of {{x}} {{output:w}}", out=list[str], outputs={"w": output})

    @tl.app
    def app(x: str) -> list[str]:
        return tl.map(lambda word: f"{word}!", words(x).value)

    assert app.using(optimize=optimize)("a") == ["red!", "green!"]


@both_ways
def test_a_text_without_turns_goes_on_behind_what_was_written(optimize: bool) -> None:
    story = tl.semantic(
        llm,
        "Once there was {{input:who}} who said{{output:said}} and then{{output:did}}",
        chat=False,
    )

    @tl.app
    def app(who: str) -> list[str]:
        told = story(who=who)
        return [told.said.value, told.did.value]

    assert app.using(optimize=optimize)("a fox") == ["hello", "left"]


def test_outputs_stream_as_they_are_written() -> None:
    @tl.app
    def app(topic: str) -> str:
        return tell(topic).reason.value

    texts = [
        e.fields["text"] for e in app.stream("a llama") if e.kind == "text" and e.node == "reason"
    ]
    assert "".join(texts) == "It is absurd."


slow = tl.LLM("fake:", name="slow", num_slots=1, max_batch_items=1, latency_s=0.1)


def order_of(app: tl.App[..., Any], *args: Any) -> list[str]:
    """The decodes of an app, in the order in which the engine began them."""
    events: list[Event] = []
    tl.run_virtually(app.using(listener=events.append), *args)
    starts = [e for e in events if e.kind == "start" and e.op == "decode"]
    return [e.node for e in sorted(starts, key=lambda e: e.t)]


def app_with(criterion: Any) -> tl.App[[str], tuple[str, str]]:
    slowly = tl.semantic(slow, "Bulk {{input:x}} {{output:bulk}}", name="bulk")
    soon = tl.semantic(slow, "Soon {{input:x}} {{output:soon}}", name="soon")

    @tl.app
    def app(x: str) -> tuple[str, str]:
        first = slowly(slowly(x)).get(criterion)
        return first.value, soon(x).value

    return app


def test_a_criterion_changes_the_plan() -> None:
    assert "objectives:" not in app_with(None).explain()
    text = app_with(tl.THROUGHPUT).explain()
    assert 'objective="throughput"' in text
    shown = text.split("objectives:\n")[1].split("\n\n")[0].splitlines()
    assert shown[0].startswith("  latency: %soon")
    assert shown[1].startswith("  throughput: %bulk")


def test_a_criterion_changes_what_an_engine_runs_first() -> None:
    assert order_of(app_with(None), "x") == ["bulk", "bulk_2", "soon"]
    assert order_of(app_with(tl.THROUGHPUT), "x") == ["soon", "bulk", "bulk_2"]


def test_a_criterion_said_before_a_variable_is_filled_counts() -> None:
    bulk = tl.semantic(slow, "Bulk {{input:x}} {{output:y}}")

    @tl.app
    def app(x: str) -> str:
        later = tl.variable()
        later.get(tl.THROUGHPUT)
        bulk(x, y=later)
        return later.value

    assert 'objective="throughput"' in str(app.graph())


def test_a_criterion_in_an_async_app_counts_for_what_was_not_started() -> None:
    events: list[Event] = []
    bulk = tl.semantic(slow, "Bulk {{input:x}} {{output:y}}", name="bulk")
    soon = tl.semantic(slow, "Soon {{input:x}} {{output:y}}", name="soon")

    @tl.app
    async def app(x: str) -> list[str]:
        first = bulk(x).get(tl.THROUGHPUT)
        second = soon(x)
        return [await second.get(tl.LATENCY), await first]

    tl.run_virtually(app.using(listener=events.append), "x")
    started = [e.node for e in events if e.kind == "start" and e.op == "decode"]
    assert started == ["soon", "bulk"]


def test_a_criterion_in_an_app_that_is_wanted_in_bulk_stands_in_its_plan() -> None:
    soon = tl.semantic(slow, "Soon {{input:x}} {{output:soon}}")

    @tl.app(objective="throughput")
    def app(x: str) -> tuple[str, str]:
        return soon(x).get(tl.LATENCY).value, summarize(x).value

    latency, throughput = app.explain().split("objectives:\n")[1].splitlines()[:2]
    assert "%soon" in latency
    assert "%summarize" in throughput


def test_variables_are_gathered() -> None:
    @tl.app
    async def app(topics: list[str]) -> list[str]:
        told = [tell(topic).reason.get(tl.LATENCY) for topic in topics]
        return list(await asyncio.gather(*told))

    assert app(["a llama", "a fox"]) == ["It is absurd."] * 2


def test_a_variable_cannot_be_awaited_in_a_def_app() -> None:
    @tl.app
    def app() -> str:
        summarize("first").get().__await__()
        return "x"

    with pytest.raises(TraceError, match="async def"):
        app.graph()


@pytest.mark.model
def test_a_real_model_tells_and_explains() -> None:
    model = tl.LLM("local:smollm2-135m")
    told = tl.semantic(
        model,
        "Name one {{input:kind}}. {{output:name}} Is it {{input:what}}? {{output:answer}}",
        outputs={"answer": tl.Output(bool), "name": tl.Output(max_tokens=8)},
    )

    @tl.app
    def app(kind: str, what: str) -> tuple[str, bool]:
        made = told(kind, what)
        return made.name.get(tl.THROUGHPUT).value, made.answer.get(tl.LATENCY).value

    name, answer = app("animal", "big")
    assert name.strip()
    assert type(answer) is bool
    assert app.using(optimize=False, memo=False)("animal", "big") == (name, answer)

    plain = tl.semantic(model, "The capital of France is{{output:city}}", chat=False, max_tokens=3)
    assert "Paris" in plain().value


def test_fakes_and_engines_given_by_name_reach_semantic_functions_of_all_forms() -> None:
    real = tl.LLM("local:smollm2-135m")
    said = tl.semantic(real, "Say {{input:x}} {{output:said}}")

    @tl.semantic(real)
    def done(x: tl.Input[str]) -> None:
        """Do {{x}} {{output:z}}"""

    @tl.app
    def app(x: str) -> str:
        return done(said(x)).value

    @tl.app
    async def later(x: str) -> str:
        return await done(await said(x))

    for each in (app, later):
        with tl.fake(each, {"Say": "said", "Do said": "done"}):
            assert each("x") == "done"
        assert each.using(engines={"llm": "fake:"})("x").startswith("reply ")
    with tl.fake(real, {"Say": "said"}):
        assert said(x="x").value == "said"


@both_ways
def test_each_item_of_a_map_has_variables_of_its_own(optimize: bool) -> None:
    def one(topic: str) -> str:
        joke = tl.variable()
        german = translate(joke, "German")
        joke.set(tell(topic).joke.get(tl.THROUGHPUT).value)
        return german.value

    @tl.app
    def app(topics: list[str]) -> list[str]:
        return tl.map(one, topics)

    assert app.using(optimize=optimize)(["a llama"] * 2) == ["Zwei Lamas gehen."] * 2
    assert "throughput: %map[].joke" in app.explain()


def test_a_variable_may_be_passed_to_an_app_before_it_is_filled() -> None:
    @tl.app
    def inner(text: str) -> str:
        return translate(text, "German").value

    @tl.app
    def app(topic: str) -> str:
        joke = tl.variable()
        german = inner(joke.value)
        joke.set(tell(topic).joke.value)
        return german

    assert app("a llama") == "Zwei Lamas gehen."


def test_equal_calls_for_different_objectives_are_one() -> None:
    shorten = tl.semantic(tl.LLM("fake:"), "Shorten {{input:text}} {{output:short}}")

    @tl.app
    def both(text: str) -> tuple[str, str]:
        bulk = shorten(text=text).get(tl.THROUGHPUT)
        return bulk.value, shorten(text=text).get(tl.LATENCY).value

    (decode,) = [node for node in both.plan().after.nodes if node.op == "decode"]
    assert decode.attrs["objective"] == "latency"
    assert both("x") == both.using(optimize=False)("x")


def test_a_sampling_option_that_there_is_not_is_named_with_the_one_that_is_meant() -> None:
    with pytest.raises(DefinitionError, match=r"'maxtokens'; did you mean 'max_tokens'\?"):
        tl.semantic(tl.LLM("fake:"), "Say {{output:x}}", maxtokens=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("order", [("latency", "throughput"), ("throughput", "latency")])
def test_a_value_that_is_wanted_for_both_is_for_latency(
    order: tuple[Literal["latency", "throughput"], ...],
) -> None:
    shorten = tl.semantic(tl.LLM("fake:"), "Shorten {{input:text}} {{output:short}}")

    @tl.app
    def both(text: str) -> str:
        short = shorten(text=text)
        for criterion in order:
            short = short.get(criterion)
        return short.value

    (decode,) = [node for node in both.graph().nodes if node.op == "decode"]
    assert decode.attrs["objective"] == "latency"


def test_what_an_output_says_of_its_sampling_holds_over_using() -> None:
    written = {"short": tl.Output(max_tokens=3)}
    shorten = tl.semantic(tl.LLM("fake:"), "Shorten it {{output:short}}", outputs=written)

    @tl.app
    def short() -> str:
        return shorten.using(max_tokens=9, temperature=0.5)().value  # type: ignore[no-any-return]

    (decode,) = [node for node in short.graph().nodes if node.op == "decode"]
    assert (decode.attrs["max_tokens"], decode.attrs["temperature"]) == (3, 0.5)
