"""Conditions, loops and maps in traced graphs."""

from textwrap import dedent

import pytest

import teola as tl
from teola.errors import SymbolicError, TraceError

llm = tl.LLM("fake:")


@tl.prompt(llm, out=bool)
def judge(text: str) -> str:
    return f"Is this good? {text}"


@tl.prompt(llm)
def write(topic: str) -> str:
    return f"Write about {topic}"


@tl.prompt(llm)
def improve(draft: str, topic: str) -> str:
    return f"Improve {draft} on {topic}"


def test_a_condition_becomes_two_bodies_with_the_same_captures() -> None:
    @tl.app
    def app(topic: str, spare: str) -> str:
        return tl.cond(judge(topic), lambda: write(topic), lambda: write(spare))

    node = app.graph().node("cond")
    assert node.inputs == ("judge", "topic", "spare")
    then, otherwise = node.bodies
    assert [p.name for p in then.params] == [p.name for p in otherwise.params]
    assert str(then.node("write.prompt").args[4]) == "Ref(name='topic', stream=False)"
    assert str(otherwise.node("write.prompt").args[4]) == "Ref(name='spare', stream=False)"


def test_a_condition_known_already_is_an_ordinary_if() -> None:
    @tl.app
    def app(topic: str, long: bool = True) -> str:
        return tl.cond(long, lambda: write(topic), lambda: topic)

    assert all(node.op != "cond" for node in app.graph().nodes)


def test_a_loop_becomes_a_body_of_state_and_captures() -> None:
    @tl.app
    def app(topic: str) -> str:
        return tl.loop(lambda d: (improve(d, topic), judge(d)), write(topic), max=3)

    text = str(app.graph())
    assert dedent("""\
          %loop = loop %write %topic [max=3] after %write""").strip() in text or (
        "%loop = loop %write %topic [max=3]" in text
    )
    body = app.graph().node("loop").bodies[0]
    assert [p.name for p in body.params] == ["d", "topic"]
    assert len(body.outputs) == 2


@pytest.mark.parametrize("bound", [0, True, "3"])
def test_a_loop_needs_a_bound(bound: object) -> None:
    @tl.app
    def app(topic: str) -> str:
        return tl.loop(lambda d: (d, judge(d)), topic, max=bound)  # type: ignore[arg-type]

    with pytest.raises(TraceError, match="max >= 1"):
        app.graph()


def test_a_loops_step_must_return_state_and_decision() -> None:
    @tl.app
    def app(topic: str) -> str:
        return tl.loop(lambda d: improve(d, topic), topic, max=2)  # type: ignore[arg-type,return-value]

    with pytest.raises(TraceError, match="must return 2 values"):
        app.graph()


def test_a_condition_inside_python_still_says_what_to_do() -> None:
    @tl.app
    def app(topic: str) -> str:
        return write(topic) if judge(topic) else topic

    with pytest.raises(SymbolicError, match=r"tl\.cond"):
        app.graph()


def test_tl_value_in_a_def_app_says_what_to_use() -> None:
    @tl.app
    def app(topic: str) -> str:
        coroutine = tl.value(write(topic))
        coroutine.send(None)  # type: ignore[attr-defined]
        return topic

    with pytest.raises(TraceError, match=r"tl\.cond, tl\.map and tl\.loop"):
        app.graph()
