"""`async def` apps in which something fails: who sees it, and what else happens."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

import teola as tl
from teola.errors import NodeFailed, OutputInvalid, failure_of

llm = tl.LLM("fake:", replies={"Number": "[1, 2", "Judge": "yes"})
small = tl.LLM("fake:", max_context_tokens=5)
both_ways = pytest.mark.parametrize("optimize", [True, False])


class Numbers(BaseModel):
    numbers: list[int] = Field(max_length=3)


@tl.prompt(llm)
def judge(text: str) -> str:
    return f"Judge {text}"


@tl.prompt(llm, out=Numbers)
def numbers(text: str) -> str:
    return f"Number {text}"


@tl.prompt(small)
def read(text: str) -> str:
    return f"Read {text}"


@tl.tool(pure=True)
def check(text: str) -> str:
    if "bad" in text:
        raise ValueError(f"no good: {text}")
    return f"checked {text}"


@tl.tool(pure=True)
def slow_check(text: str) -> str:
    return check._function(text)


class Sent(list[str]):
    """What a tool sent."""

    def tool(self) -> Callable[[str], str]:
        @tl.tool
        def send(text: str) -> str:
            if "refuse" in text:
                raise PermissionError(text)
            self.append(text)
            return f"sent {text}"

        return send


def run(app: Any, optimize: bool, *args: Any) -> Any:
    return app.using(optimize=optimize)(*args)


@both_ways
def test_the_tools_own_exception_is_caught(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        try:
            return await tl.value(check(text))
        except ValueError as error:
            failure = failure_of(error)
            return f"{error} | {error.__notes__[0]} | {failure and failure.node}"

    said = run(app, optimize, "bad one")
    assert said.startswith("no good: bad one | raised by %check (")
    assert "test_async_failures.py:" in said
    assert said.endswith(" | check")


@both_ways
def test_outside_it_is_a_failed_node(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        return await tl.value(check(text))

    with pytest.raises(NodeFailed, match="%check") as caught:
        run(app, optimize, "bad")
    assert isinstance(caught.value.__cause__, ValueError)


@both_ways
def test_an_exception_raised_for_another_is_the_apps_own(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        try:
            return await tl.value(check(text))
        except ValueError as error:
            raise LookupError("mine") from error

    with pytest.raises(LookupError, match="mine"):
        run(app, optimize, "bad")


@both_ways
def test_one_failing_value_leaves_its_siblings(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        first, second, third = check("bad"), check(text), judge(text)
        with pytest.raises(ValueError, match="no good"):
            await tl.value(first)
        return f"{await tl.value(second)}, {await tl.value(third)}"

    assert run(app, optimize, "fine") == "checked fine, yes"


@both_ways
def test_one_failing_value_leaves_its_siblings_in_later_segments(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        first, second = check("bad"), check(text)
        await tl.value(judge(text))
        lost, kept = check(f"{first}"), check(f"{second}")
        result = await tl.value(kept)
        with pytest.raises(ValueError, match="no good: bad"):
            await tl.value(lost)
        return result

    assert run(app, optimize, "fine") == "checked checked fine"


@both_ways
def test_an_effect_behind_a_failure_of_an_earlier_segment_does_not_happen(optimize: bool) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> str:
        guard = check(text)
        await tl.value(judge(text))
        send("second")
        await tl.value(judge(text))
        return f"{guard}"

    with pytest.raises(NodeFailed, match="%check"):
        run(app, optimize, "bad")
    assert sent == []


@both_ways
def test_pure_work_beside_an_effect_that_does_not_happen_goes_on(optimize: bool) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> str:
        guard = check("bad")
        await tl.value(judge(text))
        lost, kept = send(text), check(text)
        result = await tl.value(kept)
        for value in (guard, lost):
            with pytest.raises(ValueError, match="no good: bad"):
                await tl.value(value)
        return result

    assert run(app, optimize, "fine") == "checked fine"
    assert sent == []


@both_ways
def test_an_effect_behind_a_failure_of_its_segment_does_not_happen(optimize: bool) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> list[str]:
        before = send("before")
        guard = check(text)
        behind = send("behind")
        return [before, guard, behind]

    with pytest.raises(NodeFailed, match="%check"):
        run(app, optimize, "bad")
    assert sent == ["before"]


@both_ways
def test_an_effect_behind_a_failure_that_was_caught_happens(optimize: bool) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> str:
        try:
            result = await tl.value(check(text))
        except ValueError:
            result = "nothing"
        send(result)
        return result

    assert run(app, optimize, "bad") == "nothing"
    assert sent == ["nothing"]


@both_ways
def test_an_effect_that_reads_a_failed_value_is_an_error_though_it_was_caught(
    optimize: bool,
) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> str:
        value = check(text)
        with pytest.raises(ValueError, match="no good"):
            await tl.value(value)
        send(value)
        return "done"

    with pytest.raises(NodeFailed, match="%check"):
        run(app, optimize, "bad")
    assert sent == []


@both_ways
def test_an_effect_nobody_awaits_fails_the_app(optimize: bool) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> str:
        send("one")
        send("refuse this")
        send("three")
        return text

    with pytest.raises(NodeFailed, match="PermissionError: refuse this"):
        run(app, optimize, "x")
    assert sent == ["one"]


@both_ways
def test_effects_before_an_exception_of_the_app_happen(optimize: bool) -> None:
    sent = Sent()
    send = sent.tool()

    @tl.app
    async def app(text: str) -> str:
        send("one")
        raise KeyError(text)

    with pytest.raises(KeyError, match="mine"):
        run(app, optimize, "mine")
    assert sent == ["one"]


@both_ways
def test_a_pure_failure_that_nobody_awaits_is_nobodys(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        kept = check("bad")
        result = await tl.value(judge(text))
        del kept
        return result

    assert run(app, optimize, "x") == "yes"


@both_ways
def test_the_engines_own_errors_are_caught_by_type(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        try:
            return await tl.value(read(text))
        except tl.errors.RequestTooLong:
            return "too long"

    assert run(app, optimize, "a b c d e f g h i") == "too long"


@both_ways
def test_invalid_output_is_caught_as_such(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        try:
            return str(await tl.value(numbers(text)))
        except OutputInvalid as error:
            return f"invalid at %{error.node}"

    assert run(app, optimize, "x") == "invalid at %numbers"


@both_ways
def test_a_failure_in_a_map_reaches_the_await_and_no_sibling(optimize: bool) -> None:
    @tl.app
    async def app(texts: list[str]) -> str:
        all_of_them, judged = tl.map(check, texts), judge("x")
        with pytest.raises(ValueError, match="no good: bad 1"):
            await tl.value(all_of_them)
        return await tl.value(judged)

    assert run(app, optimize, ["fine", "bad 1", "bad 2"]) == "yes"


def test_a_batch_keeps_each_failure() -> None:
    @tl.app
    async def app(text: str) -> str:
        return await tl.value(check(text))

    good, bad = app.batch([{"text": "fine"}, {"text": "bad"}])
    assert good == "checked fine"
    assert isinstance(bad, NodeFailed)


def test_gathered_values_fail_one_by_one() -> None:
    @tl.app
    async def app(texts: list[str]) -> list[str]:
        values = [tl.value(check(text)) for text in texts]
        found = await asyncio.gather(*values, return_exceptions=True)
        return [type(each).__name__ for each in found]

    assert app(["fine", "bad", "fine"]) == ["str", "ValueError", "str"]


@both_ways
def test_a_task_that_still_awaits_a_value_when_the_app_ends_is_cancelled(optimize: bool) -> None:
    started: list[asyncio.Task[Any]] = []

    @tl.app
    async def app(text: str) -> str:
        started.append(asyncio.create_task(_value_of(read_late(text))))
        await asyncio.sleep(0)
        return text

    async def run() -> None:
        assert await app.using(optimize=optimize).arun("x") == "x"
        await asyncio.wait(started, timeout=60)

    asyncio.run(run())
    assert [task.cancelled() for task in started] == [True]


async def _value_of(value: str) -> str:
    return await tl.value(value)


@tl.prompt(tl.LLM("fake:", prefill_token_s=60.0))
def read_late(text: str) -> str:
    return f"Read {text}"
