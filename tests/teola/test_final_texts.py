"""Which texts are told as the answer's own."""

import pytest

import teola as tl

llm = tl.LLM("fake:", replies={"": "some words"})


@tl.prompt(llm, max_tokens=8)
def say(topic: str) -> str:
    return f"Say {topic}"


@tl.tool(pure=True)
def is_long(topic: str) -> bool:
    return len(topic) > 4


@tl.app
def chosen(topic: str) -> str:
    return tl.cond(is_long(topic), lambda: say(topic), lambda: say("no"))


@tl.app
def deep(topic: str) -> str:
    return tl.cond(is_long(topic), lambda: chosen(topic), lambda: say("no"))


limited = chosen.using(timeout_s=30.0)


@tl.app
def within(topic: str) -> str:
    return limited(topic)


@tl.app
def behind(topic: str) -> str:
    return say(chosen(topic))


@tl.app
def listed(topic: str) -> list[str]:
    return [chosen(topic)]


def final_nodes(app: tl.App[..., object], topic: str) -> set[str]:
    events = app.using(memo=False).stream(topic)
    return {e.node for e in events if e.kind == "text" and e.fields["final"]}


@pytest.mark.parametrize("app", [chosen, deep, within])
@pytest.mark.parametrize("topic", ["tea", "coffee"])
def test_the_text_that_a_branch_gives_on_is_final(app: tl.App[..., object], topic: str) -> None:
    (node,) = final_nodes(app, topic)

    assert node.endswith("say")


@pytest.mark.parametrize("app", [behind, listed])
def test_a_branch_that_is_no_answer_is_not_final(app: tl.App[..., object]) -> None:
    assert final_nodes(app, "tea") <= {"say"}


def test_texts_of_a_list_are_not_the_answers_own() -> None:
    @tl.app
    def each(topics: list[str]) -> list[str]:
        return tl.map(say, topics)

    events = each.using(memo=False).stream(["tea", "milk"])
    assert not any(e.kind == "text" and e.fields["final"] for e in events)
