"""Which definition of a function is remembered."""

from typing import Any

import teola as tl
from runtime.memo.functions import MAX_KNOWN, FunctionVersions

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
