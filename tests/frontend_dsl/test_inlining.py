"""Apps called inside other apps."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import teola as tl
from teola.errors import ArgumentError, ConfigError, QueryTimeout, SymbolicError, TraceError

llm = tl.LLM("fake:", replies={"": "the module's"})
other = tl.LLM("fake:", replies={"": "another"}, name="other")
slow = tl.LLM("fake:", token_s=0.05, replies={"": "word " * 200})


@tl.prompt(llm)
def ask(text: str) -> str:
    return f"Ask {text}"


@tl.prompt(other)
def ask_other(text: str) -> str:
    return f"Ask {text}"


@tl.prompt(slow)
def ramble(text: str) -> str:
    return f"Talk about {text}"


@tl.tool(pure=True)
def repeat(text: str, times: int) -> str:
    return text * times


@tl.app
def inner(text: str, times: int = 2) -> str:
    return repeat(text, times)


def test_arguments_of_an_inlined_app_are_checked_and_coerced() -> None:
    @tl.app
    def outer(text: str) -> str:
        return inner(text, "3")  # type: ignore[arg-type]

    @tl.app
    def wrong(text: str) -> str:
        return inner(text, times="many")  # type: ignore[arg-type]

    assert outer("ab") == "ababab"
    line = wrong._function.__code__.co_firstlineno + 2
    with pytest.raises(ArgumentError, match=rf"test_inlining\.py:{line}: inner\(\): .*'times'"):
        wrong("ab")


def test_an_inlined_app_has_its_defaults_and_takes_values_of_the_run() -> None:
    @tl.tool
    def count(text: str) -> int:
        return len(text)

    @tl.app
    def outer(text: str) -> list[str]:
        return [inner(text), inner(text, count(text)), inner(f"<{text}>", times=1)]

    assert outer("abc") == ["abcabc", "abcabcabc", "<abc>"]


def test_a_wrong_name_of_an_argument_is_told_with_the_callers_line() -> None:
    @tl.app
    def outer(text: str) -> str:
        return inner(text, time=3)  # type: ignore[call-arg]

    with pytest.raises(ArgumentError, match=r"test_inlining\.py:\d+: inner\(\) has no argument"):
        outer("x")


def test_an_async_app_checks_the_arguments_of_what_it_inlines() -> None:
    @tl.app
    async def part(text: str, times: int) -> str:
        return await tl.value(repeat(text, times))

    @tl.app
    async def outer(text: str) -> str:
        return await part(text, "2")  # type: ignore[arg-type]

    @tl.app
    async def wrong(text: str) -> str:
        return await part(text, "many")  # type: ignore[arg-type]

    assert asyncio.run(outer.arun("ab")) == "abab"
    with pytest.raises(ArgumentError, match=r"test_inlining\.py:\d+: part\(\): argument 'times'"):
        asyncio.run(wrong.arun("ab"))


def test_engine_overrides_of_an_inlined_app_count_for_its_part_alone() -> None:
    @tl.app(engines={"llm": "fake:"})
    def part(text: str) -> str:
        return ask(text)

    @tl.app
    def outer(text: str) -> list[str]:
        return [part(text), ask(text)]

    replaced, own = outer("x")
    assert replaced == part("x")
    assert (replaced.startswith("reply "), own) == (True, "the module's")
    names = {n.attrs["engine"] for n in outer.graph().nodes if n.op == "decode"}
    assert names == {"llm", "part.llm"}


def test_the_outer_app_may_replace_the_engine_of_an_inlined_one_again() -> None:
    @tl.app(engines={"llm": "fake:"})
    def part(text: str) -> list[str]:
        return [ask(text), ask_other(text)]

    @tl.app(engines={"other": "fake:"})
    def middle(text: str) -> list[str]:
        return [*part(text), ask(text)]

    @tl.app
    def outer(text: str) -> list[str]:
        return middle(text)

    first, second, third = outer("x")
    assert (first.startswith("reply "), second.startswith("reply ")) == (True, True)
    assert third == "the module's"
    again = outer.using(engines={"part.llm": "fake:", "llm": "fake:"})
    assert again("x")[2] == first


def test_an_inlined_app_that_replaces_an_engine_it_has_not_is_told() -> None:
    @tl.app
    def outer(text: str) -> str:
        return inner.using(engines={"gpt": "fake:"})(text)

    with pytest.raises(
        ConfigError, match=r"app inner\(\) has no engine named 'gpt'; it has python"
    ):
        outer("x")


def test_engine_overrides_of_an_inlined_async_app_count() -> None:
    @tl.app(engines={"llm": "fake:"})
    async def part(text: str) -> str:
        await tl.value(repeat(text, 1))
        return await tl.value(ask(text))

    @tl.app
    async def outer(text: str) -> list[str]:
        return [await part(text), await tl.value(ask(text))]

    replaced, own = asyncio.run(outer.arun("x"))
    assert (replaced.startswith("reply "), own) == (True, "the module's")


def test_a_time_limit_of_an_inlined_async_app_holds_for_its_work() -> None:
    @tl.app(timeout_s=0.05)
    async def part(text: str) -> str:
        return ramble(text)

    @tl.app
    async def outer(text: str) -> str:
        try:
            return await part(text)
        except QueryTimeout as error:
            return str(error)

    assert asyncio.run(outer.arun("x")) == "app part() did not finish within 0.05 s"


@pytest.mark.parametrize("option", [{"salt": "tenant"}, {"memo": False}])
def test_an_option_that_a_part_of_an_app_cannot_keep_is_refused(option: Any) -> None:
    @tl.app
    def outer(text: str) -> str:
        return inner.using(**option)(text)

    (name,) = option
    with pytest.raises(TraceError, match=rf"test_inlining\.py:\d+: app inner\(\) has {name}="):
        outer("x")


@pytest.mark.usefixtures("no_collection")
def test_an_app_that_calls_itself_without_end_is_told() -> None:
    @tl.tool(pure=True)
    def is_done(text: str) -> bool:
        return len(text) > 5

    @tl.app
    def app(text: str) -> str:
        return tl.cond(is_done(text), lambda: text, lambda: app(ask(text)))

    with pytest.raises(TraceError, match=r"app app\(\) calls itself without end"):
        app("x")


def test_a_static_argument_given_a_value_of_the_run_fails_where_it_is_used_as_known() -> None:
    @tl.app
    def part(n: int) -> list[str]:
        return [ask(str(i)) for i in range(n)]

    @tl.tool
    def count() -> int:
        return 2

    @tl.app
    def outer(text: str) -> list[str]:
        return part(count())

    with pytest.raises(SymbolicError, match="turned into a number"):
        outer("x")


def test_an_app_that_nobody_awaited_is_told_by_its_name() -> None:
    @tl.app
    async def part(text: str) -> str:
        return text

    @tl.app
    async def whole(text: str) -> list[str]:
        return [part(text)]  # type: ignore[list-item]

    with pytest.raises(TraceError, match=r"coroutine of part\(\) was not awaited") as caught:
        whole("x")
    assert caught.value.line == whole._function.__code__.co_firstlineno


STARTED: dict[str, Callable[[Any, Any], Any]] = {
    "batch": lambda app, text: app.batch([text]),
    "stream": lambda app, text: app.stream(text),
    "a text": lambda app, text: app.batch([{"text": f"about {text}"}]),
}


@pytest.mark.parametrize("how", STARTED)
def test_a_run_of_its_own_takes_no_value_of_the_app_around(how: str) -> None:
    @tl.app
    def part(text: str) -> str:
        return text

    @tl.app
    def whole(text: str) -> Any:
        return STARTED[how](part, text)

    with pytest.raises(SymbolicError, match=r"call part\(\.\.\.\) itself") as caught:
        whole.graph()
    assert caught.value.file.endswith("test_inlining.py")
