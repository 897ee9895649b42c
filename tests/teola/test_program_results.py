"""Reading the result of a program outside of it."""

import pytest

import teola as tl
from teola.errors import TraceError

llm = tl.LLM("fake:", replies={"score": "7", "word": "hello"})


@tl.program(llm)
def ask(s: tl.State, question: str) -> tl.State:
    s += tl.user(question)
    forks = s.fork(2)
    for fork in forks:
        fork += tl.user("Again?")
        fork += tl.gen("each", max_tokens=4)
    s.join(forks)
    s += tl.user("So?")
    s += tl.gen("answer", max_tokens=4)
    return s


def test_a_text_is_read_as_the_type_that_is_asked_for() -> None:
    result = ask("A score?")
    assert result.get("answer", int) == 7
    assert result.get("answer", str) == "7"
    assert result.get("each", list[int]) == [7, 7]
    assert result.get("each", list[str]) == ["7", "7"]


def test_a_text_that_is_no_value_of_the_type_is_named() -> None:
    with pytest.raises(ValueError, match=r"'answer' is no int.*the model wrote 'hello'"):
        ask("A word?").get("answer", int)


def test_a_name_that_is_not_there_is_told_the_names_that_are() -> None:
    result = ask("A word?")
    for read in (lambda: result["nothing"], lambda: result.get("nothing", str)):
        with pytest.raises(KeyError, match=r"'nothing'; there are: 'each', 'answer'"):
            read()


def test_a_name_that_state_and_fork_both_wrote_cannot_be_joined() -> None:
    @tl.program(llm)
    def clash(s: tl.State) -> tl.State:
        s += tl.user("Which?")
        (fork,) = s.fork()
        fork += tl.gen("word", max_tokens=2)
        s += tl.gen("word", max_tokens=2)
        s.join([fork])
        return s

    with pytest.raises(TraceError, match=r'"word".*forks have one too'):
        clash()
