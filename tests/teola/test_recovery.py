"""Apps that go on where something fails: the same plain and optimised."""

import threading
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from teola.errors import (
    NodeFailed,
    OutputInvalid,
    QueryTimeout,
    RequestTooLong,
    ToolTimeout,
    TraceError,
    failure_of,
)

llm = tl.LLM("fake:", replies={"Ask": "fine", "Explain no (.*)": "sorry"})
slow = tl.LLM("fake:", replies={"Talk": "one two three four"}, token_s=1.0)
done: list[str] = []

both = pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "plain"])


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@tl.prompt(llm)
def explain(error: object) -> str:
    return f"Explain {error}"


@tl.prompt(slow)
def talk(text: str) -> str:
    return f"Talk about {text}"


@tl.tool(pure=True)
def check(text: str) -> str:
    if "bad" in text:
        raise ValueError(f"no {text}")
    return text.upper()


@tl.tool(pure=True)
def size(text: str) -> int:
    return len(check(text))


@tl.tool
def send(text: str) -> str:
    done.append(text)
    return text


@tl.tool(pure=True)
def describe(results: list[Any]) -> list[str]:
    return [f"{type(r).__name__}: {r}" for r in results]


@both
def test_an_attempt_gives_a_value_instead_of_a_failure(optimize: bool) -> None:
    @tl.app
    def app(text: str) -> str:
        return tl.attempt(lambda: check(text), "nothing")

    app = app.using(optimize=optimize)
    assert [app("good"), app("bad")] == ["GOOD", "nothing"]


@both
def test_an_attempt_may_look_at_the_error_and_use_values_of_the_app(optimize: bool) -> None:
    @tl.app
    def app(text: str, name: str) -> str:
        return tl.attempt(lambda: check(text), lambda error: send(f"{name}: {explain(error)}"))

    app = app.using(optimize=optimize)
    assert app("bad", "a") == "a: sorry"
    assert app("good", "a") == "GOOD"
    assert done == ["a: sorry"]


@both
def test_effects_before_the_failure_have_happened_and_those_behind_it_never(
    optimize: bool,
) -> None:
    @tl.app
    def app(text: str) -> str:
        def work() -> str:
            send("first")
            return send(check(text))

        result = tl.attempt(work, lambda: send("third"))
        send("fourth")
        return result

    assert app.using(optimize=optimize)("bad") == "third"
    assert done == ["first", "third", "fourth"]


def test_an_attempt_needs_a_function() -> None:
    @tl.app
    def app(text: str) -> str:
        return tl.attempt(check(text), "nothing")  # type: ignore[call-overload,no-any-return]

    with pytest.raises(TraceError, match=r"test_recovery\.py:\d+: .*tl\.attempt needs a function"):
        app("x")


@both
def test_a_map_keeps_exceptions_or_leaves_items_out(optimize: bool) -> None:
    @tl.app
    def keeping(texts: list[str]) -> list[str]:
        return describe(tl.map(check, texts, on_error="keep"))

    @tl.app
    def skipping(texts: list[str]) -> list[str]:
        return tl.map(check, texts, on_error="skip")

    texts = ["a", "bad b", "c"]
    expected = ["str: A", "ValueError: no bad b", "str: C"]
    assert keeping.using(optimize=optimize)(texts) == expected
    assert skipping.using(optimize=optimize)(texts) == ["A", "C"]


def test_a_kept_exception_is_the_tools_own_and_leads_to_the_failure() -> None:
    @tl.app
    def app(texts: list[str]) -> list[str | Exception]:
        return tl.map(check, texts, on_error="keep")

    _, error = app(["a", "bad"])
    assert isinstance(error, ValueError)
    failure = failure_of(error)
    assert failure is not None
    assert failure.where.startswith("tests/teola/test_recovery.py:")


def test_an_unknown_on_error_is_refused_with_the_line() -> None:
    @tl.app
    def app(texts: list[str]) -> list[str]:
        return tl.map(check, texts, on_error="drop")  # type: ignore[call-overload,no-any-return]

    with pytest.raises(TraceError, match=r"test_recovery\.py:\d+: on_error= .* not 'drop'"):
        app(["x"])


@both
def test_the_first_success_wins_and_the_others_are_stopped(optimize: bool) -> None:
    @tl.app
    def app(text: str) -> str:
        return tl.first(lambda: talk(text), lambda: explain(check(text)), lambda: check("bad"))

    events = list(app.using(optimize=optimize).stream("x"))
    ended = {event.node for event in events if event.kind == "end"}
    assert not any(node.endswith("talk") for node in ended)
    assert events[-1].fields["status"] == "ok"


@both
def test_when_all_fail_the_error_is_that_of_the_first(optimize: bool) -> None:
    @tl.app
    def app(text: str) -> str:
        return tl.first(lambda: check(f"bad {text}"), lambda: explain(size("bad")))

    with pytest.raises(NodeFailed, match="no bad x"):
        app.using(optimize=optimize)("x")


def test_an_alternative_with_effects_is_refused_with_its_line() -> None:
    def risky(text: str) -> str:
        return tl.map(send, [text])[0]

    @tl.app
    def app(text: str) -> str:
        return tl.first(lambda: check(text), lambda: risky(text))

    line = risky.__code__.co_firstlineno + 1
    with pytest.raises(TraceError, match=rf"test_recovery\.py:{line}: .*may change something"):
        app("x")


@both
def test_an_inlined_app_keeps_its_time_limit(optimize: bool) -> None:
    @tl.app(timeout_s=0.05)
    def part(text: str) -> str:
        return talk(text)

    @tl.app
    def app(text: str) -> str:
        return tl.attempt(lambda: part(text), lambda error: error)  # type: ignore[return-value]

    error = app.using(optimize=optimize)("x")
    assert isinstance(error, QueryTimeout)
    assert str(error) == "app part() did not finish within 0.05 s"


@both
def test_one_value_that_fails_leaves_the_others_of_an_async_app_alone(optimize: bool) -> None:
    may_end = threading.Event()

    @tl.tool(pure=True)
    def wait(text: str) -> str:
        assert may_end.wait(10)
        return text

    @tl.app
    async def app(text: str) -> str:
        bad, good = check(f"bad {text}"), wait(text)
        try:
            await tl.value(bad)
        except ValueError as error:
            may_end.set()
            return f"{error}, {await tl.value(good)}"
        return "no error"

    if not optimize:
        may_end.set()  # one after another: the other is awaited first
    assert app.using(optimize=optimize)("x") == "no bad x, x"


class Count(BaseModel):
    n: int


class Words(BaseModel):
    words: list[str]


asked = tl.LLM(
    "fake:",
    replies={
        "(?s)Never.*": '{"n": "none"}',
        "(?s)not valid.*not valid": '{"n": 3}',
        "(?s)at 'n'. Write the whole": '{"n": "two"}',
        "Count": '{"n": "one"}',
        "(?s)not valid": '{"words": ["a", "b"]}',
        "List": '{"words": ["a", 1]}',
    },
)


@tl.prompt(asked, out=Count, retries=2)
def count(text: str) -> str:
    return f"Count {text}"


@tl.prompt(asked, out=Words, retries=1)
def words(text: str) -> str:
    return f"List {text}"


@both
def test_a_model_is_asked_again_with_what_is_not_valid(optimize: bool) -> None:
    @tl.app
    def app(text: str) -> Count:
        return count(text)

    events = list(app.using(optimize=optimize, memo=False).stream("x"))
    assert events[-1].fields["result"] == Count(n=3)
    decodes = [event for event in events if event.kind == "end" and event.op == "decode"]
    assert len(decodes) == 3
    assert all(event.fields["decode_tokens"] for event in decodes)
    assert "Write the whole answer again" in str(app.plan(text="x"))


@both
def test_an_answer_that_stays_invalid_is_a_failure(optimize: bool) -> None:
    @tl.app
    def app(text: str) -> Count:
        return count(text)

    with pytest.raises(OutputInvalid, match="not a Count"):
        app.using(optimize=optimize)("Never")


@both
def test_no_element_of_an_answer_that_may_be_invalid_is_used_early(optimize: bool) -> None:
    @tl.app
    def app(text: str) -> list[str]:
        return tl.map(send, words(text).words)

    assert app.using(optimize=optimize)("x") == ["a", "b"]
    assert done == ["a", "b"]


def test_retries_of_a_prompt_need_a_type() -> None:
    with pytest.raises(TypeError, match="retries= of @tl.prompt needs out="):
        tl.prompt(llm, retries=1)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="a whole number, 0 or more; got -1"):
        tl.prompt(llm, out=int, retries=-1)


def test_a_tool_is_called_again_and_has_a_time_limit() -> None:
    calls: list[str] = []
    may_end = threading.Event()

    @tl.tool(retries=2)
    def flaky(text: str) -> str:
        calls.append(text)
        if len(calls) < 3:
            raise ConnectionError("try later")
        return text

    @tl.tool(timeout_s=0.05)
    def stuck(text: str) -> str:
        may_end.wait(10)
        return text

    @tl.app
    async def app(text: str) -> str:
        try:
            await tl.value(stuck(text))
        except ToolTimeout as error:
            return f"{await tl.value(flaky(text))}, {error.cause}"
        finally:
            may_end.set()
        return "in time"

    assert app("x") == "x, it took longer than 0.05 s"
    assert calls == ["x"] * 3


def test_retries_and_limits_of_tools_are_checked_at_the_decoration() -> None:
    with pytest.raises(ValueError, match="a whole number, 0 or more; got -1"):
        tl.tool(retries=-1)(str)
    with pytest.raises(ValueError, match="must be seconds, above 0; got 0"):
        tl.tool(timeout_s=0)(str)


@both
def test_an_effect_behind_a_failure_of_its_segment_never_happens(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        before = send("before")
        bad = check(f"bad {text}")
        behind = send("behind")
        pure = check("pure")
        found = [await tl.value(before), await tl.value(pure)]
        for value in (bad, behind):
            try:
                await tl.value(value)
            except ValueError as error:
                found.append(str(error))
        return ", ".join(found)

    assert app.using(optimize=optimize)("x") == "before, PURE, no bad x, no bad x"
    assert done == ["before"]


@both
def test_an_async_app_may_attempt_and_race_too(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> list[str]:
        kept = await tl.value(tl.map(check, [text, "bad"], on_error="keep"))
        assert isinstance(kept[1], ValueError)
        mended = tl.attempt(lambda: check(f"bad {text}"), lambda error: explain(error))
        won = tl.first(lambda: check(f"bad {mended}"), lambda: check(text))
        return [str(kept[0]), await tl.value(mended), await tl.value(won)]

    assert app.using(optimize=optimize)("x") == ["X", "sorry", "X"]


@both
def test_a_prompt_that_is_refused_is_a_failure_that_can_be_taken(optimize: bool) -> None:
    tiny = tl.LLM("fake:", max_context_tokens=3)

    @tl.prompt(tiny)
    def long(text: str) -> str:
        return f"This is a long prompt about {text}"

    @tl.app
    def app(text: str) -> str:
        return tl.attempt(lambda: long(text), lambda error: f"{error}")

    @tl.app
    async def segments(text: str) -> str:
        answer = long(text)
        try:
            return await tl.value(answer)
        except RequestTooLong as error:
            return f"caught: {error}"

    assert "more than the context of 3" in app.using(optimize=optimize)("x")
    assert "caught: the prompt has" in segments.using(optimize=optimize)("x")
