"""Prompt functions: other settings at the call, methods, callables, t-strings."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

import teola as tl
from frontend_dsl.errors import DefinitionError
from teola.errors import SymbolicError, TraceError

llm = tl.LLM("fake:")
big = tl.LLM("fake:", num_slots=2)


@tl.prompt(llm, out=list[str], max_tokens=50, stop="\n")
def names(topic: str, n: int = 2) -> str:
    return f"Write {n} names of {topic}"


def decode_of(prompt: Callable[[str], Any], name: str = "names.json") -> dict[str, Any]:
    @tl.app
    def app(topic: str) -> Any:
        return prompt(topic)

    return dict(app.graph().node(name).attrs)


def test_other_settings_hold_for_that_prompt_alone() -> None:
    other = names.using(temperature=0.7, llm=big, seed=3)
    changed, before = decode_of(other), decode_of(names)
    assert (changed["engine"], changed["temperature"], changed["seed"]) == ("big", 0.7, 3)
    assert (changed["max_tokens"], changed["stop"]) == (50, ["\n"])
    assert before["engine"] == "llm"
    assert "temperature" not in before
    assert decode_of(other.using(max_tokens=9))["temperature"] == 0.7
    assert decode_of(other.using(max_tokens=9))["max_tokens"] == 9


def test_settings_can_be_chosen_inside_an_app() -> None:
    @tl.app
    def app(topic: str, heat: float = 0.0) -> Any:
        return names.using(temperature=heat)(topic)

    assert app.graph(heat=0.5).node("names.json").attrs["temperature"] == 0.5


def test_wrong_settings_are_told() -> None:
    with pytest.raises(ValueError, match="need temperature >= 0"):
        names.using(temperature=-1)
    with pytest.raises(TypeError, match="heat"):
        names.using(heat=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs an LLM"):
        names.using(llm="fake:")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Writer:
    style: str

    @tl.prompt(llm)
    def write(self, topic: str) -> str:
        return f"Write a {self.style} text about {topic}"

    @tl.tool(pure=True)
    def sign(self, text: str) -> str:
        return f"{text} ({self.style})"

    @staticmethod
    @tl.prompt(llm)
    def plain(topic: str) -> str:
        return f"Say {topic}"

    def __call__(self, topic: str) -> str:
        return f"Call {self.style} {topic}"


def words(app: Any, name: str) -> str:
    return " ".join(arg for arg in app.graph().node(name).args if isinstance(arg, str))


def test_a_method_can_be_a_prompt() -> None:
    short, long = Writer("short"), Writer("long")

    @tl.app
    def app(topic: str) -> list[str]:
        return [short.write(topic), long.write(topic), Writer.write(short, topic), short.plain("x")]

    texts = [words(app, name) for name in ("write.prompt", "write.prompt_2", "write.prompt_3")]
    assert texts == [
        "Write a short text about",
        "Write a long text about",
        "Write a short text about",
    ]
    assert words(app, "plain.prompt") == "Say x"


def test_an_object_and_a_partial_function_can_be_prompts() -> None:
    called = tl.prompt(llm)(Writer("short"))
    halved: Any = tl.prompt(llm)(partial(lambda style, topic: f"Be {style} on {topic}", "kind"))

    @tl.app
    def app(topic: str) -> list[str]:
        return [called(topic), halved(topic)]

    assert words(app, "Writer.prompt") == "Call short"
    assert "Be kind on" in str(app.graph())


async def _later(topic: str) -> str:
    return topic


def _in_turn(topic: str) -> Any:
    yield topic


@pytest.mark.parametrize("function", [Writer, len, 3, _later, _in_turn])
def test_what_cannot_be_a_prompt_is_told_at_decoration(function: Any) -> None:
    with pytest.raises(DefinitionError, match="prompt"):
        tl.prompt(llm)(function)


@dataclass(frozen=True, slots=True)
class Hole:
    value: Any
    conversion: str | None = None
    format_spec: str = ""


@dataclass(frozen=True, slots=True)
class StandIn:
    """What Python 3.14 makes of a t-string, for older versions."""

    strings: tuple[str, ...]
    interpolations: tuple[Hole, ...]


def template(*parts: Any) -> StandIn:
    """Texts and holes in turn, as in a t-string."""
    strings, holes = [""], []
    for part in parts:
        if isinstance(part, str):
            strings[-1] += part
        else:
            holes.append(part)
            strings.append("")
    return StandIn(tuple(strings), tuple(holes))


def app_of(make: Callable[[str], Any]) -> Any:
    @tl.prompt(llm)
    def asked(topic: str) -> Any:
        return make(topic)

    @tl.app
    def app(topic: str) -> str:
        return asked(topic)

    return app


def test_the_values_of_a_t_string_are_holes_of_the_prompt() -> None:
    def make(topic: str) -> StandIn:
        inner = template("on ", Hole(topic))
        return template("Write ", Hole(2), " lines ", Hole(inner), "!", Hole(0.5, None, ".2f"))

    def same(topic: str) -> str:
        return f"Write {2} lines on {topic}!{0.5:.2f}"

    parts = [app_of(one).graph().node("asked.prompt").args for one in (make, same)]
    joined = ["".join(a if isinstance(a, str) else "|" for a in args[1:]) for args in parts]
    assert joined[0] == joined[1]
    assert app_of(make)("cats") == app_of(same)("cats")


def test_real_texts_in_a_t_string_are_inputs_in_an_async_app() -> None:
    @tl.prompt(llm)
    def asked(topic: str) -> Any:
        return template("About ", Hole(topic), ".")

    @tl.app
    async def app(topic: str) -> str:
        return await tl.value(asked(topic))

    assert app("cats") != app("dogs")
    assert len(app._segments) == 1


@pytest.mark.parametrize("is_async", [True, False])
def test_a_t_string_is_a_text_for_tools_and_results(is_async: bool) -> None:
    @tl.tool(pure=True)
    def shown(text: Any) -> str:
        return f"<{text}>"

    def made(topic: str) -> Any:
        return [shown(template("on ", Hole(topic), Hole("!"))), names(topic)][0]

    async def made_later(topic: str) -> Any:
        return await tl.value(shown(template("on ", Hole(shown(topic)))))

    app: Any = tl.app(made_later if is_async else made)
    assert app("x") == ("<on <x>>" if is_async else "<on x!>")
    assert tl.app(lambda_returning)("x") == "on x"


def lambda_returning(topic: str) -> Any:
    return template("on ", Hole(topic))


def test_a_format_spec_on_a_value_of_a_t_string_is_refused() -> None:
    with pytest.raises(SymbolicError, match="format spec"):
        app_of(lambda topic: template(Hole(topic, None, ">10"))).graph()


def test_an_empty_t_string_is_no_prompt() -> None:
    with pytest.raises(TraceError, match="must `return` the prompt"):
        app_of(lambda topic: template("  ")).graph()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="t-strings are of Python 3.14")
def test_a_real_t_string_is_a_prompt() -> None:
    scope: dict[str, Any] = {}
    exec("def make(topic):\n    return t'About {topic}!'", scope)
    assert "%topic" in str(app_of(scope["make"]).graph())
