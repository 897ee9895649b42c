"""Python's own functions on lists, in apps: they mean the same, plain and optimised."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import teola as tl
from teola.errors import NodeFailed, TraceError

llm = tl.LLM("fake:", replies={"many": '["b", "c", "a", "d"]', "long": "true", "say": "said"})


@dataclass(frozen=True)
class Person:
    name: str
    age: int


@tl.tool(pure=True)
def people(question: str) -> list[Person]:
    return [Person("Ann", 40), Person("Bob", 20), Person("Cid", 30)]


@tl.tool(pure=True)
def cities(question: str) -> list[str]:
    return ["Oslo", "Rome"]


@tl.tool(pure=True)
def some_set(question: str) -> set[str]:
    return {"Rome", "Oslo"}


@tl.tool(pure=True)
def some_dict(question: str) -> dict[str, int]:
    return {"Rome": 1, "Oslo": 2}


@tl.tool(pure=True)
def is_long(word: str) -> bool:
    return len(word) > 3


@tl.tool(pure=True)
def pair(first: Any, second: Any) -> str:
    return f"{first}+{second}"


@tl.tool(pure=True)
def kind(value: Any) -> str:
    return repr(value)


@tl.prompt(llm, out=list[str])
def letters(question: str) -> str:
    return f"many {question}"


@tl.prompt(llm)
def say(word: str) -> str:
    return f"say {word}"


Body = Callable[[str], Any]

MEANT: dict[str, tuple[Body, Any]] = {
    "slice": (lambda q: letters(q)[1:3], ["c", "a"]),
    "slice backwards": (lambda q: letters(q)[::-1], ["d", "a", "c", "b"]),
    "slice from the end": (lambda q: letters(q)[-2:], ["a", "d"]),
    "slice of a text": (lambda q: letters(q)[0][:1], "b"),
    "zip": (
        lambda q: tl.zip(people(q), cities(q)),
        [(Person("Ann", 40), "Oslo"), (Person("Bob", 20), "Rome")],
    ),
    "zip with a known list": (lambda q: tl.zip(cities(q), [1, 2, 3]), [("Oslo", 1), ("Rome", 2)]),
    "zip of known lists": (lambda q: tl.zip("ab", [1, 2]), [("a", 1), ("b", 2)]),
    "enumerate": (lambda q: tl.enumerate(cities(q), 5), [(5, "Oslo"), (6, "Rome")]),
    "filter": (lambda q: tl.filter(is_long, letters(q)), []),
    "filter by a field": (
        lambda q: tl.filter(lambda p: is_long(p.name), people(q)),
        [],
    ),
    "filter keeps": (lambda q: tl.filter(is_long, cities(q)), ["Oslo", "Rome"]),
    "sorted": (lambda q: tl.sorted(letters(q), reverse=True), ["d", "c", "b", "a"]),
    "sorted by a field": (
        lambda q: tl.map(lambda p: p.name, tl.sorted(people(q), key=lambda p: p.age)),
        ["Bob", "Cid", "Ann"],
    ),
    "sorted by nothing keeps the order": (
        lambda q: tl.sorted(letters(q), key=lambda _: 0, reverse=True),
        ["b", "c", "a", "d"],
    ),
    "sorted set": (lambda q: tl.sorted(some_set(q), reverse=True), ["Rome", "Oslo"]),
    "sorted dict": (lambda q: tl.sorted(some_dict(q)), ["Oslo", "Rome"]),
    "map over several lists": (
        lambda q: tl.map(pair, cities(q), ["x", "y", "z"]),
        ["Oslo+x", "Rome+y"],
    ),
    "map over rows": (
        lambda q: tl.map(lambda row: pair(*row), tl.enumerate(cities(q))),
        ["0+Oslo", "1+Rome"],
    ),
    "rows come apart": (
        lambda q: tl.map(lambda row: kind(_swapped(*row)), tl.zip(cities(q), [1, 2])),
        ["(1, 'Oslo')", "(2, 'Rome')"],
    ),
    "map over a generator": (lambda q: tl.map(say, (w for w in ["a", "b"])), ["said", "said"]),
    "map over a dict's values": (
        lambda q: tl.map(kind, {"a": letters(q)[0], "b": 1}.values()),
        ["'b'", "1"],
    ),
    "join of a generator": (lambda q: tl.join(f"{w}!" for w in [q, "x"]), "hello!\nx!"),
    "tuple": (lambda q: (letters(q)[0], 1), ("b", 1)),
    "tuple inside": (lambda q: [(q, (1, 2))], [("hello", (1, 2))]),
    "known tuple": (lambda q: kind((1, "a")), "(1, 'a')"),
    "tuple to a tool": (lambda q: kind((q, 1)), "('hello', 1)"),
    "int keys": (lambda q: {1: q, None: "x"}, {1: "hello", None: "x"}),
    "int keys to a tool": (lambda q: kind({1: q}), "{1: 'hello'}"),
    "keys that are no JSON": (lambda q: {(1, 2): q}, {(1, 2): "hello"}),
    "keys of the run": (lambda q: {f"{q}!": 1, "b": 2}, {"hello!": 1, "b": 2}),
    "set": (lambda q: {f"{q}", "x"}, {"hello", "x"}),
    "frozenset": (lambda q: frozenset({f"{q}"}), frozenset({"hello"})),
    "known set": (lambda q: kind({1}), "{1}"),
}


def _swapped(first: Any, second: Any) -> tuple[Any, Any]:
    return second, first


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("what", MEANT)
def test_a_list_function_means_what_python_means(what: str, optimize: bool) -> None:
    body, expected = MEANT[what]

    @tl.app
    def app(question: str) -> Any:
        return body(question)

    for _ in range(2):  # the second call takes the graph of the first
        result = app.using(optimize=optimize)("hello")
        assert result == expected
        assert type(result) is type(expected)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("flag", [True, False])
def test_a_branch_may_return_an_outer_value(flag: bool, optimize: bool) -> None:
    @tl.tool(pure=True)
    def asked(question: str) -> bool:
        return flag

    @tl.app
    def app(question: str) -> str:
        draft = letters(question)[0]
        return tl.cond(asked(question), lambda: say("x"), lambda: draft)

    assert app.using(optimize=optimize)("q") == ("said" if flag else "b")


@pytest.mark.parametrize("optimize", [True, False])
def test_a_maps_body_and_a_loops_step_may_return_an_outer_value(optimize: bool) -> None:
    @tl.app
    def app(question: str) -> Any:
        first = letters(question)[0]
        again = is_long(question)
        return (
            tl.map(lambda _: first, letters(question)),
            tl.loop(lambda _: (first, again), question, max=3),
            tl.map(lambda w: tl.cond(is_long(w), lambda: w, lambda: first), ["long word", "no"]),
        )

    result = app.using(optimize=optimize)("hello")
    assert result == (["b", "b", "b", "b"], "b", ["long word", "b"])


@pytest.mark.parametrize("optimize", [True, False])
def test_a_branch_that_is_not_taken_reads_no_field(optimize: bool) -> None:
    @tl.app
    def app(question: str) -> str:
        found = letters(question)
        return tl.cond(is_long(found[0]), lambda: found[99], lambda: found[0])

    assert app.using(optimize=optimize)("hello") == "b"


@dataclass(frozen=True)
class Pet:
    name: str
    owner: Person | None


@tl.tool(pure=True)
def pets(question: str) -> list[Pet]:
    return [Pet("Rex", Person("Ann", 40)), Pet("Tom", None)]


@pytest.mark.parametrize("optimize", [True, False])
def test_what_may_be_none_is_asked_for_its_fields_as_in_python(optimize: bool) -> None:
    @tl.app
    def app(question: str) -> list[str]:
        return tl.map(
            lambda pet: tl.cond(pet.owner, lambda: pet.owner.name, lambda: "nobody"),  # type: ignore[union-attr]
            pets(question),
        )

    @tl.app
    def careless(question: str) -> list[str]:
        return tl.map(lambda pet: pet.owner.name, pets(question))  # type: ignore[union-attr]

    assert app.using(optimize=optimize)("x") == ["Ann", "nobody"]
    with pytest.raises(NodeFailed, match="the value is None and has no 'name'"):
        careless.using(optimize=optimize)("x")


def test_a_field_that_none_of_a_union_has_is_told() -> None:
    @tl.app
    def app(question: str) -> Any:
        return pets(question)[0].owner.size  # type: ignore[union-attr]

    with pytest.raises(TraceError, match=r"Person \| None %owner has no field 'size'"):
        app.graph()


def test_lists_of_different_lengths_are_an_error_where_strict_says_so() -> None:
    @tl.app
    def app(question: str) -> Any:
        return tl.zip(cities(question), [1], strict=True)

    with pytest.raises(NodeFailed, match="zip"):
        app("q")


async def say_later(word: str) -> str:
    return say(word)


def _once() -> Iterator[str]:
    yield "a"


REFUSED: dict[str, tuple[Body, str]] = {
    "a generator to a tool": (lambda q: kind(_once()), "gives its items only once"),
    "a generator in a list": (lambda q: [q, _once()], "gives its items only once"),
    "no list": (lambda q: tl.map(say, 3), "takes a list"),
    "an async function in a map": (lambda q: tl.map(say_later, [q]), "say_later.*plain functions"),
    "a coroutine to a tool": (lambda q: kind(say_later(q)), "no graph awaits"),
    "a row that is too short": (lambda q: tl.zip(cities(q), [1])[0][2], "has no item 2"),
    "in a set": (lambda q: {q}, "put in a dict or set"),
    "looked up": (lambda q: {"hello": "x"}.get(q), "looked up"),
    "a slice of the run": (lambda q: letters(q)[: letters(q)], "constant"),
    "a product": (lambda q: letters(q)[0] * 2, "arithmetic"),
    "a negative": (lambda q: -letters(q)[0], "arithmetic"),  # type: ignore[operator]
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_graph_cannot_mean_is_refused_with_the_line(what: str) -> None:
    body, problem = REFUSED[what]

    @tl.app
    def app(question: str) -> Any:
        return body(question)

    with pytest.raises(TraceError, match=problem) as caught:
        app.graph()
    assert "test_lists_in_apps.py" in caught.value.file
