"""`async def` apps with maps, conditions, loops, and other apps in them."""

import asyncio
import time

import pytest

import teola as tl
from teola.errors import ArgumentError, QueryTimeout

llm = tl.LLM("fake:", replies={"Judge good": "yes", "Judge": "no", "Part": "text"})


@tl.prompt(llm)
def judge(draft: str) -> str:
    return f"Judge {draft}"


@tl.prompt(llm)
def part(name: str, head: str) -> str:
    return f"Part {name} of {head}"


@tl.tool(pure=True)
def is_yes(text: str) -> bool:
    return text == "yes"


@tl.tool(pure=True)
def more(text: str) -> str:
    return text + "!"


@tl.tool(pure=True)
def is_short(text: str) -> bool:
    return len(text) < 4


@tl.tool
async def wait(text: str) -> str:
    await asyncio.sleep(60)
    return text


@tl.app
async def inner(draft: str, seconds: float = 0.0) -> str:
    if seconds:
        await tl.value(wait(draft))
    return judge(draft)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_map_over_a_real_list(optimize: bool) -> None:
    @tl.app
    async def app(head: str) -> list[str]:
        names = [f"{head}{i}" for i in range(3)]
        return await tl.value(tl.map(lambda name: more(f"{name}/{head}"), names))

    assert app.using(optimize=optimize)("a") == ["a0/a!", "a1/a!", "a2/a!"]


@pytest.mark.parametrize("optimize", [True, False])
def test_a_map_over_a_value_with_values_of_earlier_segments(optimize: bool) -> None:
    @tl.app
    async def app(head: str) -> list[str]:
        late = more(head)
        names = tl.map(more, ["x", "y"])
        await tl.value(judge("good"))
        return tl.map(lambda name: more(f"{name}-{late}"), names)

    assert app.using(optimize=optimize)("a") == ["x!-a!!", "y!-a!!"]


@pytest.mark.parametrize("optimize", [True, False])
def test_a_condition_on_a_value(optimize: bool) -> None:
    @tl.app
    async def app(draft: str) -> str:
        return tl.cond(is_yes(judge(draft)), lambda: more("kept"), lambda: more(f"not {draft}"))

    assert app.using(optimize=optimize)("good") == "kept!"
    assert app.using(optimize=optimize)("bad") == "not bad!"


@pytest.mark.parametrize("optimize", [True, False])
def test_a_loop_from_a_real_text(optimize: bool) -> None:
    @tl.app
    async def app(text: str) -> str:
        start = await tl.value(more(text))
        return tl.loop(lambda state: (more(state), is_short(state)), start, max=9)

    assert app.using(optimize=optimize)("a") == "a!!!!"


@pytest.mark.parametrize("optimize", [True, False])
def test_list_functions_and_attempts_over_real_values(optimize: bool) -> None:
    @tl.tool(pure=True)
    def size(text: str) -> int:
        return len(text)

    @tl.tool(pure=True)
    def check(text: str) -> str:
        if "bad" in text:
            raise ValueError(text)
        return text

    @tl.app
    async def app(head: str) -> list[object]:
        names = [head * 2, head]
        return [
            tl.map(check, [*names, "bad"], on_error="skip"),
            tl.attempt(lambda: check(f"bad {head}"), lambda: f"saved {head}"),
            tl.sorted(names, key=size),
            tl.zip(names, tl.map(size, names)),
            await tl.value(tl.first(lambda: check("bad"), lambda: check(names[1]))),
        ]

    found = app.using(optimize=optimize)("q")
    assert found == [["qq", "q"], "saved q", ["q", "qq"], [("qq", 2), ("q", 1)], "q"]


def test_maps_over_other_lists_compile_once() -> None:
    @tl.app
    async def app(head: str) -> list[str]:
        found: list[str] = []
        for i in range(5):
            names = [f"{head}{j}" for j in range(i + 1)]
            found += await tl.value(tl.map(lambda name, i=i: part(f"{name}.{i}", head), names))
        return found

    assert app("x") == ["text"] * 15
    assert len(app._segments) <= 2


def test_a_def_app_inside_is_part_of_the_segment() -> None:
    @tl.app
    def both(draft: str) -> list[str]:
        return [judge(draft), more(draft)]

    @tl.app
    async def app(draft: str) -> str:
        first, second = await tl.value(both(draft))
        return f"{first} {second}"

    assert app("good") == "yes good!"


def test_an_async_app_awaited_inside_gives_its_real_result() -> None:
    @tl.app
    async def app(draft: str) -> str:
        verdict = await inner(draft)
        assert type(verdict) is str
        return "kept" if verdict == "yes" else "dropped"

    assert app("good") == "kept"
    assert app("bad") == "dropped"


def test_async_apps_side_by_side_inside_one() -> None:
    @tl.app
    async def app(draft: str) -> list[str]:
        return list(await asyncio.gather(inner(draft), inner("bad"), inner("good")))

    assert app("good") == ["yes", "no", "yes"]


def test_an_async_app_inside_keeps_its_argument_checks() -> None:
    @tl.app
    async def app(draft: str) -> str:
        return await inner(drafts=draft)  # type: ignore[call-arg]

    with pytest.raises(ArgumentError, match="drafts"):
        app("good")


def test_an_async_app_inside_keeps_its_timeout() -> None:
    @tl.app
    async def app(draft: str) -> str:
        try:
            return await inner.using(timeout_s=0.1)(draft, 1.0)
        except QueryTimeout as error:
            return str(error)

    began = time.monotonic()
    assert app("good") == "app inner() did not finish within 0.1 s"
    assert time.monotonic() - began < 30


def test_the_limit_of_an_app_inside_ends_nothing_of_the_app_around() -> None:
    @tl.tool(pure=True)
    async def pause(text: str) -> str:
        await asyncio.sleep(0.4)
        return text

    @tl.app
    async def app(draft: str) -> str:
        late = pause(draft)
        with pytest.raises(QueryTimeout):
            await inner.using(timeout_s=0.1)(f"of {late}", 1.0)
        return f"{await tl.value(late)} {await inner.using(timeout_s=9)(draft)}"

    assert app("good") == "good yes"


def test_an_app_with_a_limit_goes_on_with_a_chat_from_outside() -> None:
    @tl.app
    async def app(draft: str) -> list[str]:
        chat = tl.Chat(llm)

        @tl.app(timeout_s=9)
        async def turn(text: str) -> str:
            return await chat.ask(text)

        return [await turn(text) for text in ("Judge good", "Judge again")]

    assert app("x") == ["yes", "yes"]


@pytest.mark.parametrize("optimize", [True, False])
def test_the_list_that_a_model_writes_is_mapped_item_by_item(optimize: bool) -> None:
    lister = tl.LLM("fake:", name="lister", replies={"": '["a", "b"]'})

    @tl.prompt(lister, out=list[str])
    def listed(topic: str) -> str:
        return f"List {topic}"

    @tl.app
    async def app(topic: str) -> list[str]:
        return await tl.value(tl.map(more, listed(topic)))

    assert app.using(optimize=optimize)("x") == ["a!", "b!"]
