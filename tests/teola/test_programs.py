"""Programs: a state that grows by texts, turns and what the model writes, on the fake model."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel

import teola as tl
from runtime.events import Event
from teola.errors import DefinitionError, OutputInvalid, TraceError
from teola.runner import default_runner

llm = tl.LLM(
    "fake:",
    replies={
        r"colour\?<\|assistant\|>$": "blue",
        r"blue!<\|assistant\|>$": "navy",
        r"Score: $": "7",
        r"Pair<\|assistant\|>$": '{"first": 1, "second": 2}',
        r"No pair<\|assistant\|>$": '{"first": 1}',
        r"related\?<\|assistant\|>$": "no",
        r"Once upon a time $": "there was",
        r"there was a king who $": "slept",
    },
)
both_ways = pytest.mark.parametrize("optimize", [True, False])


class Pair(BaseModel):
    first: int
    second: int


def prefilled(events: list[Event]) -> int:
    """The words that all prefills read."""
    ends = [event for event in events if event.kind == "end"]
    return sum(event.fields["prefill_tokens"] for event in ends if event.op == "prefill")


@tl.program(llm)
def two_turns(s: tl.State, question: str) -> str:
    s += tl.system("Be brief.")
    s += tl.user(question)
    s += tl.assistant(tl.gen("first", max_tokens=4))
    s += tl.user(f"More of {s['first']}!")
    s += tl.assistant(tl.gen("second"))
    return s["second"]


@both_ways
def test_a_turn_goes_on_from_the_turns_before_it(optimize: bool) -> None:
    assert two_turns.using(optimize=optimize)("A colour?") == "navy"


@tl.program(llm)
async def as_it_goes(s: tl.State, question: str) -> str:
    s += tl.user(question)
    s += tl.gen("first")
    if await tl.value(s["first"]) != "blue":
        return "no colour"
    s += tl.user("More of " + s["first"] + "!")
    s += tl.gen("second")
    return s["second"]


@both_ways
def test_an_async_program_branches_on_what_the_model_wrote(optimize: bool) -> None:
    app = as_it_goes.using(optimize=optimize)
    assert app("A colour?") == "navy"
    assert app("A number?") == "no colour"


@both_ways
def test_a_program_without_roles_is_one_text(optimize: bool) -> None:
    @tl.program(llm)
    def story(s: tl.State, who: str) -> tl.State:
        s += "Once upon a time "
        s += tl.gen("was")
        s += " a " + who + " who " + tl.gen("did")
        return s

    result = story.using(optimize=optimize)("king")
    assert result.text == "Once upon a time there was a king who slept"
    assert result.variables == {"was": "there was", "did": "slept"}
    assert result.messages == []


@both_ways
def test_a_program_that_returns_its_state_or_nothing_gives_a_program_result(optimize: bool) -> None:
    @tl.program(llm)
    def program(s: tl.State, question: str) -> None:
        s += tl.user(question)
        s += tl.assistant("It is " + tl.gen("colour", regex=r"[a-z]+") + ".")
        s += tl.user("Pair")
        s += tl.gen("pair", out=Pair)

    @tl.program(llm)
    async def same(s: tl.State, question: str) -> tl.State:
        s += tl.user(question)
        s += tl.assistant("It is " + tl.gen("colour", regex=r"[a-z]+") + ".")
        await tl.value(s["colour"])
        s += tl.user("Pair")
        s += tl.gen("pair", out=Pair)
        return s

    result = program.using(optimize=optimize)("What?")
    assert result == same.using(optimize=optimize)("What?")
    assert result.get("pair", Pair) == Pair(first=1, second=2)
    assert result["pair"] == '{"first": 1, "second": 2}'
    assert result.messages[1] == tl.Message("assistant", f"It is {result['colour']}.")
    assert [message.role for message in result.messages] == ["user", "assistant"] * 2


def test_a_value_added_to_a_state_leaves_it_a_state() -> None:
    @tl.program(llm)
    def asked(s: tl.State, question: str) -> str:
        s += question
        s += tl.gen("answer")
        assert s["answer"] is not None
        return s["answer"]

    assert asked("A colour?").startswith("reply")


def test_blocks_hold_a_turn_open() -> None:
    @tl.program(llm)
    def blocks(s: tl.State, thing: str) -> tl.State:
        with s.user():
            s += "A "
            s += thing
            s += "?"
        with s.assistant():
            s += tl.gen("answer")
        return s

    result = blocks("colour")
    assert result.messages == [tl.Message("user", "A colour?"), tl.Message("assistant", "blue")]
    assert str(blocks.graph()).count(" prefill ") == 1


@both_ways
def test_values_come_from_the_text_by_the_type_that_is_asked_for(optimize: bool) -> None:
    @tl.program(llm)
    def score(s: tl.State, essay: str) -> tuple[int, str, Pair]:
        s += tl.user(essay)
        s += tl.assistant("Score: " + tl.gen("score", regex="[0-9]"))
        s += tl.user("Pair")
        s += tl.gen("pair", out=Pair)
        return s.get("score", int), s["score"], s.get("pair", Pair)

    assert score.using(optimize=optimize)("x") == (7, "7", Pair(first=1, second=2))


def test_a_text_that_is_no_value_of_its_type_fails_the_program() -> None:
    @tl.program(llm)
    def pair(s: tl.State) -> str:
        s += tl.user("No pair")
        s += tl.gen("pair", out=Pair)
        return "done"

    with pytest.raises(OutputInvalid, match="second"):
        pair()


POINTS = ("clarity", "tone", "evidence")


@tl.program(llm)
def judged(s: tl.State, essay: str) -> list[str]:
    s += tl.system("You judge essays by what they say and how they say it, in few words.")
    s += tl.user(f"Essay: {essay}")
    forks = s.fork(len(POINTS))
    for fork, point in zip(forks, POINTS, strict=True):
        fork += tl.user(f"Judge its {point}.")
        fork += tl.assistant("Judgment: " + tl.gen("judgment"))
    s.join(forks)
    s += tl.user("All in all? " + tl.join(s.get("judgment", list[str]), "{text}"))
    s += tl.gen("verdict")
    return [*s.get("judgment", list[str]), s["verdict"]]


def test_forks_read_what_they_share_once_and_run_side_by_side() -> None:
    told: dict[bool, list[Event]] = {True: [], False: []}
    answers = [
        judged.using(optimize=optimize, listener=told[optimize].append, memo=False)("so it is")
        for optimize in (True, False)
    ]
    assert answers[0] == answers[1]
    assert len({*answers[0]}) == len(POINTS) + 1
    head = [event for event in told[False] if event.kind == "end" and event.node == "fork.prompt"]
    assert [event.fields["prefill_tokens"] for event in head] == [18]
    assert prefilled(told[True]) == prefilled(told[False]) < 18 + 3 * 18
    kinds = [event.kind for event in told[True] if event.node.startswith("judgment")]
    assert kinds.index("end") > 2  # all began before one was done


def test_forks_are_read_without_a_join_too() -> None:
    @tl.program(llm)
    def tips(s: tl.State) -> str:
        s += "Two tips.\n"
        forks = s.fork(2)
        for i, fork in enumerate(forks):
            fork += f"Expand tip {i + 1}:\n"
            fork += tl.gen("tip", stop="\n\n")
        s += "Tip 1: " + forks[0]["tip"] + "\nTip 2: " + forks[1]["tip"]
        s += tl.gen("summary")
        return s.text()

    text = tips()
    assert text == tips.using(optimize=False)()
    assert text.startswith("Two tips.\nTip 1: reply ")


def test_a_join_can_append_what_the_forks_said() -> None:
    @tl.program(llm)
    def program(s: tl.State) -> tl.State:
        s += tl.user("Begin")
        forks = s.fork(2)
        for i, fork in enumerate(forks):
            fork += tl.user(f"Part {i}")
            fork += tl.gen("part")
        s.join(forks, "concat")
        s += tl.user("End")
        s += tl.gen("end")
        return s

    result = program()
    parts: list[Any] = list(result.variables["part"])
    assert [message.content for message in result.messages] == [
        *("Begin", "Part 0", parts[0], "Part 1", parts[1], "End", result["end"])
    ]
    assert result == program.using(optimize=False)()


def test_what_two_forks_write_has_one_name_and_a_list_of_values() -> None:
    @tl.program(llm)
    def pairs(s: tl.State) -> list[Pair]:
        s += tl.user("Pair")
        forks = s.fork(2)
        for fork in forks:
            fork += tl.gen("pair", out=Pair)
        s.join(forks)
        assert len(s["pair"]) == 2
        return s.get("pair", list[Pair])

    assert pairs() == [Pair(first=1, second=2)] * 2


def test_a_fork_in_a_map_belongs_to_its_item() -> None:
    @tl.program(llm)
    def rated(s: tl.State, essay: str, points: list[str]) -> list[str]:
        s += tl.user(f"Essay: {essay}")

        def rate(point: str) -> str:
            [fork] = s.fork()
            fork += tl.user(f"Judge its {point}.")
            fork += tl.gen("judgment")
            return fork["judgment"]

        return tl.map(rate, points)

    points = ["tone", "style"]
    judgments = rated("so it is", points)
    assert len({*judgments}) == 2
    assert rated.using(optimize=False)("so it is", points) == judgments


def test_a_state_can_be_made_in_any_app() -> None:
    @tl.app
    def app(question: str) -> str:
        s = tl.State(llm)
        s += tl.user(question)
        s += tl.gen("answer", max_tokens=5)
        return s["answer"]

    assert app("A colour?") == "blue"


def test_a_program_in_which_the_model_writes_nothing_gives_its_text() -> None:
    @tl.program(llm)
    def said(s: tl.State, name: str) -> None:
        s += tl.user(f"I am {name}.")

    @tl.program(llm)
    async def said_later(s: tl.State, name: str) -> None:
        s += tl.user(f"I am {name}.")

    message = tl.Message("user", "I am Bob.")
    assert (
        said("Bob") == said_later("Bob") == tl.ProgramResult({}, {}, "user: I am Bob.", [message])
    )


@both_ways
def test_an_app_reads_the_result_of_a_program_in_it(optimize: bool) -> None:
    @tl.program(llm)
    def inner(s: tl.State, question: str) -> tl.State:
        s += tl.user(question)
        s += tl.gen("text")
        s += tl.user("Pair")
        s += tl.gen("pair", out=Pair)
        return s

    @tl.app
    def app(question: str) -> tuple[str, int, str, tl.ProgramResult]:
        result = inner(question)
        return result["text"], result.get("pair", Pair).second, result.text, result

    @tl.app
    async def later(question: str) -> tuple[str, int, str, tl.ProgramResult]:
        result = inner(question)
        whole = await tl.value(result)
        return await tl.value(result["text"]), whole.get("pair", Pair).second, whole.text, whole

    whole = inner("A colour?")
    assert type(whole) is tl.ProgramResult
    wanted = ("blue", 2, whole.text, whole)
    assert app.using(optimize=optimize)("A colour?") == wanted
    assert later.using(optimize=optimize)("A colour?") == wanted


@both_ways
def test_programs_run_in_apps_and_maps_and_give_all_contexts_back(optimize: bool) -> None:
    @tl.program(llm)
    async def forked(s: tl.State, question: str) -> str:
        s += tl.user(question)
        forks = s.fork(3)
        for fork in forks:
            fork += tl.gen("one")
        first = await tl.value(forks[0]["one"])
        s.join(forks)
        s += tl.user(f"And {first}?")
        s += tl.gen("two")
        return s["two"]

    @tl.app
    async def app(questions: list[str]) -> list[str]:
        return [*await tl.value(tl.map(two_turns, questions)), await forked(questions[0])]

    app = app.using(optimize=optimize)
    assert len(app(["A colour?", "What?"])) == 3
    runner: Any = default_runner()
    assert runner._runtime.scheduler("llm", llm.spec).engine.num_live_contexts == 0


def test_events_of_texts_say_which_variable_is_written() -> None:
    written: dict[str, str] = {}
    for event in judged.stream("so it is"):
        if event.kind == "text":
            name = event.fields["variable"]
            written[name] = written.get(name, "") + event.fields["text"]
    names = ["judgment[0]", "judgment[1]", "judgment[2]", "verdict"]
    assert [written[name] for name in names] == judged("so it is")


def test_an_async_program_streams_by_variable_too() -> None:
    events = [event for event in as_it_goes.stream("A colour?") if event.kind == "text"]
    assert [event.fields["variable"] for event in events] == ["first", "second"]
    assert not any("variable" in event.fields for event in _answered())


def _answered() -> list[Any]:
    @tl.prompt(llm)
    def answer(question: str) -> str:
        return question

    @tl.app
    def app(question: str) -> str:
        return answer(question)

    return [event for event in app.stream("A colour?") if event.kind == "text"]


def test_a_conversation_compiles_a_bounded_number_of_shapes() -> None:
    @tl.program(llm)
    async def talk(s: tl.State, questions: list[str]) -> int:
        for i, question in enumerate(questions):
            s += tl.user(f"Question: {question}")
            s += tl.gen(f"answer_{i}")
            await tl.value(s[f"answer_{i}"])
        return len(s.variables)

    questions = [f"what is {i}" for i in range(6)]
    assert talk(questions) == 6
    shapes = len(talk._segments)
    assert talk([f"why {i}" for i in range(6)]) == 6
    assert len(talk._segments) == shapes


def test_a_program_is_traced_anew_when_what_it_reads_is_redefined() -> None:
    space: dict[str, Any] = {"tl": tl, "llm": llm, "WORDS": "A colour?"}
    code = (
        "def ask(s: tl.State) -> str:\n"
        "    s += tl.user(WORDS)\n"
        "    s += tl.gen('answer')\n"
        "    return s['answer']\n"
    )
    exec(code, space)
    app = tl.program(llm)(space["ask"])
    assert app() == "blue"
    space["WORDS"] = "colour is blue!"
    assert app() == "navy"


# errors that teach


def refused(program: Any, *words: str) -> None:
    with pytest.raises(TraceError) as caught:
        tl.program(llm)(program)()
    for word in words:
        assert word in str(caught.value)
    assert "test_programs.py" in str(caught.value)


def test_a_variable_that_is_not_there_yet_names_those_that_are() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("A colour?")
        s += tl.gen("first")
        return s["second"]

    refused(program, 's["second"]', "'first'", 'tl.gen("second")')


def test_a_variable_of_forks_says_how_to_read_it() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("A colour?")
        for fork in s.fork(2):
            fork += tl.gen("tip")
        return s["tip"]

    refused(program, 'forks[0]["tip"]', "s.join(forks)")


def test_a_name_is_given_once() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("A colour?")
        s += tl.gen("answer")
        s += tl.gen("answer")
        return s["answer"]

    refused(program, 's["answer"] is there already', "its own name")


def test_a_fork_cannot_be_used_behind_its_join() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("A colour?")
        forks = s.fork(2)
        s.join(forks)
        forks[0] += tl.gen("late")
        return "x"

    refused(program, "ended this fork", "go on with the state")


def test_a_gen_outside_of_a_program_says_where_it_belongs() -> None:
    with pytest.raises(TraceError, match=r"@tl\.program\(llm\), as `s \+= tl\.gen\(\"x\"\)`"):
        tl.gen("x")


def test_a_branch_on_what_the_model_wrote_says_async_def() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("Is it related?")
        s += tl.gen("related")
        if s["related"] == "no":
            return "no"
        return "yes"

    refused(program, "async def", "await tl.value(...)")


def test_a_gen_is_no_text_of_an_f_string() -> None:
    def program(s: tl.State) -> str:
        s += f"Score: {tl.gen('score')}"
        return "x"

    refused(program, "cannot stand in an f-string", 's += "text " + tl.gen(...)')


def test_texts_are_joined_by_the_app_and_not_by_python() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("x")
        s += tl.gen("answer")
        return ", ".join([s["answer"], "y"])

    async def same(s: tl.State) -> str:
        s += tl.user("x")
        s += tl.gen("answer")
        return ", ".join([s["answer"], "y"])

    refused(program, "tl.join(texts")
    refused(same, "tl.join(texts")


@pytest.mark.parametrize("name", ["", "two words", "1st", 3])
def test_a_variable_has_a_name_of_python(name: Any) -> None:
    def program(s: tl.State) -> str:
        s += tl.user("x") if name else "x"
        s += tl.gen(name)
        return "x"

    refused(program, "names no variable")


def test_a_turn_does_not_begin_inside_of_another() -> None:
    def program(s: tl.State) -> str:
        with s.user():
            s += tl.assistant("x")
        return "x"

    refused(program, "assistant turn begins inside a user turn")


def test_only_texts_and_pieces_are_added() -> None:
    def program(s: tl.State) -> str:
        s += 3  # type: ignore[arg-type]
        return "x"

    refused(program, "takes texts, tl.gen", "3")


def test_the_model_needs_something_to_go_on_from() -> None:
    def program(s: tl.State) -> str:
        s += tl.gen("x")
        return s["x"]

    refused(program, "nothing before")


def test_a_value_has_the_type_that_its_gen_said() -> None:
    def program(s: tl.State) -> int:
        s += tl.user("Pair")
        s += tl.gen("pair", out=Pair)
        return s.get("pair", int)

    refused(program, "of the type Pair", "not int")


def test_a_map_forks_the_state_before_it_goes_on() -> None:
    def program(s: tl.State) -> list[str]:
        s += tl.user("Essay")

        def rate(point: str) -> str:
            nonlocal s
            s += tl.user(point)
            return "x"

        return tl.map(rate, ["tone"])

    refused(program, "[f] = s.fork()")


def test_only_forks_of_the_same_state_are_joined() -> None:
    def program(s: tl.State) -> str:
        s += tl.user("Essay")
        [fork] = s.fork()
        s.join(fork.fork(2))
        return "x"

    refused(program, "of the same state")


def test_a_program_takes_its_state_first() -> None:
    with pytest.raises(DefinitionError, match="whose first parameter is the state"):
        tl.program(llm)(lambda: None)  # type: ignore[arg-type, misc]

    class Bot:
        def talk(self, s: tl.State) -> None: ...

    with pytest.raises(DefinitionError, match="plain function"):
        tl.program(llm)(Bot.talk)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write @tl\.program\(llm\)"):
        tl.program(two_turns)  # type: ignore[arg-type]


def test_a_choice_is_one_of_the_texts() -> None:
    @tl.program(llm)
    def pick(s: tl.State, thing: str) -> Literal["red", "green"]:
        s += tl.user(thing)
        s += tl.gen("picked", choices=["red", "green"])
        return s.get("picked", Literal["red", "green"])  # type: ignore[return-value]

    assert str(pick.graph()).count("parse") == 1
