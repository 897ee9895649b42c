"""What can be an app: functions, methods, partials, objects; and what cannot."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from functools import partial, wraps
from typing import Any

import pytest

import teola as tl
from teola.errors import ArgumentError, GraphError

llm = tl.LLM("fake:", replies={"formal": "Good day", "short": "Hi"})


@tl.prompt(llm)
def greet(style: str, name: str) -> str:
    return f"{style} greeting for {name}"


class Bot:
    def __init__(self, style: str) -> None:
        self.style = style

    @tl.app
    def hello(self, name: str, times: int = 1) -> list[str]:
        return [greet(self.style, name) for _ in range(times)]

    @tl.app
    async def ahello(self, name: str) -> str:
        return await tl.value(greet(self.style, name))

    @classmethod
    @tl.app
    def made(cls, name: str) -> str:
        return greet("formal", f"{cls.__name__} {name}")

    @staticmethod
    @tl.app
    def plain(name: str) -> str:
        return greet("short", name)

    @tl.app
    @staticmethod
    def outside(name: str) -> str:
        return greet("short", name)


def test_a_method_is_an_app_of_its_object() -> None:
    formal, short = Bot("formal"), Bot("short")
    assert (formal.hello("Ada"), short.hello("Ada", times=2)) == (["Good day"], ["Hi", "Hi"])
    assert formal.hello.batch(["Ada", "Bob"]) == [["Good day"], ["Good day"]]
    assert list(short.hello.stream("Ada"))[-1].fields["result"] == ["Hi"]
    assert short.hello.using(optimize=False)("Ada") == ["Hi"]
    assert [p.name for p in formal.hello.parameters] == ["name", "times"]


def test_an_async_method_is_an_app_of_its_object() -> None:
    async def both() -> list[str]:
        return await asyncio.gather(Bot("formal").ahello.arun("Ada"), Bot("short").ahello.arun("B"))

    assert asyncio.run(both()) == ["Good day", "Hi"]


def test_an_attribute_that_the_method_reads_is_seen_when_it_changes() -> None:
    bot = Bot("formal")
    assert bot.hello("Ada") == ["Good day"]
    bot.style = "short"
    assert bot.hello("Ada") == ["Hi"]


def test_a_method_may_be_called_on_the_class_with_its_object_first() -> None:
    unbound: Any = Bot.hello
    assert unbound(Bot("short"), "Ada") == ["Hi"]
    with pytest.raises(ArgumentError, match=r"hello\(\) is a method: call it on an object"):
        unbound(name="Ada")


def test_class_and_static_methods_are_apps() -> None:
    assert Bot.made("Ada") == "Good day"
    assert (Bot.plain("Ada"), Bot("formal").plain("Ada"), Bot("formal").outside("Ada")) == (
        "Hi",
        "Hi",
        "Hi",
    )


def test_objects_whose_method_ran_are_kept_for_some_calls_only() -> None:
    first = Bot("formal")
    first.hello("Ada")
    gone = weakref.ref(first)
    del first
    for _ in range(70):
        Bot("short").hello("Ada")
    gc.collect()
    assert gone() is None


def test_a_partial_is_an_app_with_the_other_parameters() -> None:
    def say(style: str, name: str) -> str:
        return greet(style, name)

    app: Any = tl.app(partial(say, "formal"))
    preset: Any = tl.app(partial(say, name="Ada"))
    assert (app.name, app("Ada")) == ("say", "Good day")
    assert (preset(style="short"), preset("formal")) == ("Hi", "Good day")


def test_an_object_with_call_is_an_app() -> None:
    class Greeter:
        def __init__(self, style: str) -> None:
            self.style = style

        def __call__(self, name: str) -> str:
            return greet(self.style, name)

    class AsyncGreeter(Greeter):
        async def __call__(self, name: str) -> str:  # type: ignore[override]
            return await tl.value(greet(self.style, name))

    app: Any = tl.app(Greeter("formal"))
    aapp: Any = tl.app(AsyncGreeter("short"))
    assert (app.name, app("Ada"), app.graph().name) == ("Greeter", "Good day", "Greeter")
    assert (aapp.is_async, aapp("Ada")) == (True, "Hi")


def test_a_bound_method_a_wrapped_function_and_a_prompt_are_apps() -> None:
    class Plain:
        def hello(self, name: str) -> str:
            return greet("formal", name)

    def loud(function: Any) -> Any:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    @loud
    def short(name: str) -> str:
        return greet("short", name)

    assert tl.app(Plain().hello)("Ada") == "Good day"
    assert tl.app(short)("Ada") == "Hi"
    assert tl.app(greet)("formal", "Ada") == "Good day"


def test_what_cannot_be_an_app_is_refused_when_decorated() -> None:
    class Thing:
        pass

    def numbers(n: int) -> Iterator[int]:
        yield n

    def loose(self, q: str) -> str:  # type: ignore[no-untyped-def]
        return q

    for wrong, why in (
        (Thing, "the class Thing is no app; decorate a method of it"),
        (len, "len is no app"),
        ("text", "'text' is no app: @tl.app takes a Python function"),
        (numbers, r"app numbers\(\) has `yield`"),
        (loose, "parameter 'self' of app loose.* has no type"),
        (classmethod(numbers), "write @classmethod above @tl.app"),
    ):
        with pytest.raises(GraphError, match=rf"test_app_forms\.py:\d+: .*{why}"):
            tl.app(wrong)  # type: ignore[arg-type, call-overload]
