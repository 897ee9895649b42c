"""Which definition of a function is remembered."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr

import teola as tl
from runtime.memo import functions
from runtime.memo.content import NoContent
from runtime.memo.functions import MAX_KNOWN, MOST_ITEMS, FunctionVersions

factor = 2


def scaled(x: int) -> int:
    return x * helper()


def helper() -> int:
    return factor


def test_a_function_is_the_same_until_what_its_helpers_read_changes() -> None:
    global factor
    versions = FunctionVersions()
    first = versions.of(scaled)
    assert versions.of(scaled) == first
    assert versions.of(helper) != first
    factor = 3
    assert versions.of(scaled) != first
    factor = 2
    assert versions.of(scaled) != first  # not again the old number: what it read may have changed


def test_known_functions_are_bounded_and_forgotten_ones_get_a_new_number() -> None:
    versions = FunctionVersions()
    first = versions.of(scaled)
    others = [eval("lambda x: x") for _ in range(MAX_KNOWN)]
    assert len({versions.of(other) for other in others}) == MAX_KNOWN
    assert versions.of(scaled) > first
    assert len(versions._known) == MAX_KNOWN


def test_functions_without_python_code_have_a_number_too() -> None:
    versions = FunctionVersions()
    assert versions.of(str.upper) == versions.of(str.upper) != versions.of(len)


def test_a_pure_tool_is_run_again_when_what_it_reads_was_assigned_anew() -> None:
    word = "old"

    class Words:
        tail = "!"

        def end(self) -> str:
            return self.tail

    words: Any = Words()

    @tl.tool(pure=True)
    def say(text: str) -> str:
        return f"{word} {text}{words.end()}"

    @tl.app
    def app(text: str) -> str:
        return say(text)

    assert app("tea") == "old tea!"
    word = "new"
    assert app("tea") == "new tea!"
    words.tail = "?"
    assert app("tea") == "new tea?"


def test_what_was_changed_in_place_is_seen() -> None:
    table, settings, seen = ["a"], {"inner": {"n": 1}}, {"x"}

    class Box:
        def __init__(self) -> None:
            self.items = ["a"]

    box = Box()

    def read(x: str, more: list[str] = table) -> str:
        return x + more[0] + str(settings["inner"]["n"]) + box.items[0] + str(x in seen)

    versions = FunctionVersions()
    numbers = [versions.of(read), versions.of(read)]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: table.append("b"),
        lambda: settings["inner"].update(n=2),
        lambda: box.items.__setitem__(0, "c"),
        lambda: seen.clear(),
    )
    for change in changes:
        change()
        numbers.append(versions.of(read))
    assert numbers == [1, 1, 2, 3, 4, 5]


def test_a_journal_that_a_function_writes_is_nothing_that_it_reads() -> None:
    ran: list[str] = []

    def noted(x: str) -> str:
        ran.append(x)
        return x

    versions = FunctionVersions()
    first = versions.of(noted)
    noted("a")
    assert versions.of(noted) == first


def test_a_list_that_is_changed_in_place_is_seen_though_the_function_fills_one_of_its_own() -> None:
    weights = [1, 2]

    def score(x: int) -> list[int]:
        found = []
        for weight in weights:
            found.append(x * weight)  # noqa: PERF401 - what it is about
        return found

    versions = FunctionVersions()
    first = versions.of(score)
    weights.append(3)
    assert versions.of(score) != first


def test_who_reads_more_than_can_be_looked_through_is_not_remembered() -> None:
    table = list(range(MOST_ITEMS + 1))
    with pytest.raises(NoContent, match="what the function reads"):
        FunctionVersions().of(lambda x: table[x])


def test_a_function_that_a_reloader_gave_other_code_is_another_one() -> None:
    def old(x: str) -> str:
        return x

    versions = FunctionVersions()
    first = versions.of(old)
    old.__code__ = (lambda x: x + "!").__code__
    assert versions.of(old) != first


def test_what_a_property_reads_is_read() -> None:
    class Box:
        def __init__(self) -> None:
            self.n = 1

        @property
        def twice(self) -> int:
            return self.n * 2

    box = Box()

    def add(x: int) -> int:
        return x + box.twice

    versions = FunctionVersions()
    first = versions.of(add)
    assert versions.of(add) == first
    box.n = 5
    assert versions.of(add) != first


class Slotted:
    __slots__ = ("items", "n", "unset")

    def __init__(self) -> None:
        self.n, self.items = 1, [1]

    def twice(self) -> int:
        return self.n * 2


class Table:
    def __init__(self) -> None:
        self.rows, self.calls = {"a": 1}, [0]

    def __getitem__(self, key: str) -> int:
        self.calls.append(1)
        return self.rows[key]

    def __call__(self, key: str) -> int:
        return self[key]

    def __eq__(self, other: object) -> bool:
        return self.rows == other

    __hash__ = None  # type: ignore[assignment]


class Own(dict[str, int]):
    def first(self) -> int:
        return self.start

    start = 1


@dataclass
class Point:
    x: int = 1


class Model(BaseModel):
    x: int = 1


class Checked(BaseModel):
    model_config = ConfigDict(validate_assignment=True, extra="allow")
    _hidden: int = PrivateAttr(1)
    x: int = 1

    def hidden(self) -> int:
        return self._hidden

    def hide(self, number: int) -> None:
        self._hidden = number


class Rates:
    rate = 2

    def of(self, x: int) -> int:
        return x * self.rate

    @classmethod
    def all(cls) -> int:
        return cls.rate


class OwnRates(Rates):
    pass


slotted, table, own, point, model = Slotted(), Table(), Own(a=1), Point(), Model()
checked = Checked(more=1)  # type: ignore[call-arg]
namespace, arguments = SimpleNamespace(a=SimpleNamespace(b=1)), Namespace(n=1)


def faster() -> None:
    Rates.rate += 1


def first_of(value: Any) -> Any:
    return value.x


def getattr_more(value: Any) -> Any:
    return value.more


READS: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "a slot": (lambda x: x + slotted.n, lambda: setattr(slotted, "n", slotted.n + 1)),
    "a slot, in a method": (lambda: slotted.twice(), lambda: setattr(slotted, "n", 7 + slotted.n)),
    "a list in a slot": (lambda x: slotted.items[x], lambda: slotted.items.append(1)),
    "an item": (lambda x: table[x], lambda: table.rows.update(a=table.rows["a"] + 1)),
    "a call": (lambda x: table(x), lambda: table.rows.update(a=table.rows["a"] + 1)),
    "a comparison": (lambda x: table == x, lambda: table.rows.update(b=len(table.rows))),
    "an own dict": (lambda x: own[x], lambda: own.update(a=own["a"] + 1)),
    "of an own dict": (lambda: own.first(), lambda: setattr(own, "start", own.start + 1)),
    "a dataclass": (lambda x: point == x, lambda: setattr(point, "x", point.x + 1)),
    "a model, as text": (lambda: f"{model}", lambda: setattr(model, "x", model.x + 1)),
    "a model that checks": (lambda: checked.x, lambda: setattr(checked, "x", checked.x + 1)),
    "a private attribute": (lambda: checked.hidden(), lambda: checked.hide(checked.hidden() + 1)),
    "an extra field": (lambda: getattr_more(checked), lambda: setattr(checked, "more", 2)),
    "of a class": (lambda x: OwnRates().of(x), faster),
    "of a class, by its method": (lambda: Rates.all(), faster),
    "a namespace": (lambda: namespace.a.b, lambda: setattr(namespace.a, "b", namespace.a.b + 1)),
    "arguments": (lambda: arguments.n, lambda: setattr(arguments, "n", arguments.n + 1)),
    "a model, by another": (lambda: first_of(model), lambda: setattr(model, "x", model.x + 1)),
}


@pytest.mark.parametrize("what", READS)
def test_an_object_that_is_changed_in_place_is_seen(what: str) -> None:
    read, change = READS[what]
    versions = FunctionVersions()
    first = versions.of(read)
    assert versions.of(read) == first
    change()
    assert versions.of(read) != first


def test_a_slotted_object_that_is_not_changed_keeps_its_number() -> None:
    def read() -> int:
        return slotted.n

    versions = FunctionVersions()
    assert versions.of(read) == versions.of(read)


class Link:
    def __init__(self, number: int, behind: Any) -> None:
        self.number, self.behind = number, behind


def test_objects_that_hold_one_another_too_deep_are_not_remembered() -> None:
    first: Any = None
    for number in range(3000):
        first = Link(number, first)

    def count() -> int:
        link, found = first, 0
        while link is not None:
            link, found = link.behind, found + 1
        return found

    with pytest.raises(NoContent):
        FunctionVersions().of(count)


def test_a_slot_that_is_assigned_later_is_seen() -> None:
    def read() -> Any:
        return hasattr(slotted, "unset") and slotted.unset

    versions = FunctionVersions()
    first = versions.of(read)
    slotted.unset = 1
    assert versions.of(read) != first


def test_a_journal_that_an_operator_writes_is_nothing_that_it_reads() -> None:
    def read(key: str) -> int:
        return table[key]

    versions = FunctionVersions()
    first = versions.of(read)
    read("a")
    assert versions.of(read) == first


def test_a_function_is_not_remembered_while_another_thread_writes_to_what_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = {"a": 1}

    def read(key: str) -> int:
        return cache[key]

    def changing(*_: object) -> bool:
        raise RuntimeError("dictionary changed size during iteration")

    versions = FunctionVersions()
    first = versions.of(read)
    with monkeypatch.context() as patch:
        patch.setattr(functions, "_is_same", changing)
        with pytest.raises(NoContent):
            versions.of(read)
    assert versions.of(read) == first
