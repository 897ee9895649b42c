"""The arguments of apps: their names, types, defaults and limits."""

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints

import teola as tl
from frontend_dsl.signature import AppParameter, app_parameters, bind
from teola.errors import ArgumentError, GraphError


class Colour(enum.Enum):
    RED = "red"


class Query(BaseModel):
    text: str = Field(max_length=5)


Short = Annotated[str, StringConstraints(max_length=3)]


def parameters(function: Any) -> dict[str, AppParameter]:
    return {parameter.name: parameter for parameter in app_parameters(function)}


def bound(function: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    found = bind("app", app_parameters(function), args, kwargs)
    return {**found.static, **found.symbolic}


def test_numbers_flags_enums_and_literals_are_static_and_texts_are_not() -> None:
    def app(
        n: int,
        x: float,
        flag: bool,
        colour: Colour,
        mode: Literal["a", "b"],
        limited: Annotated[int, Field(ge=1)],
        perhaps: int | None,
        text: str,
        either: int | str,
        texts: list[int],
    ) -> None: ...

    static = {name for name, parameter in parameters(app).items() if parameter.is_static}
    assert static == {"n", "x", "flag", "colour", "mode", "limited", "perhaps"}


def test_none_is_static_also_where_its_type_is_not() -> None:
    def app(text: str | None) -> None: ...

    assert bind("app", app_parameters(app), (None,), {}).static == {"text": None}
    assert bind("app", app_parameters(app), ("x",), {}).symbolic == {"text": "x"}


def test_defaults_are_checked_like_arguments() -> None:
    def app(n: int = "7", texts: list[str] = ("a",)) -> None: ...  # type: ignore[assignment]

    assert bound(app) == {"n": 7, "texts": ["a"]}

    def wrong(n: int = "many") -> None: ...  # type: ignore[assignment]

    with pytest.raises(ArgumentError, match=r"app\(\): argument 'n': .*valid integer"):
        bound(wrong)


@pytest.mark.parametrize("value", [-7, 6])
def test_the_limits_of_an_annotated_number_hold(value: int) -> None:
    def app(n: Annotated[int, Field(ge=1, le=5)]) -> None: ...

    assert bound(app, 5) == {"n": 5}
    with pytest.raises(ArgumentError, match="argument 'n': Input should be"):
        bound(app, value)


def test_limits_inside_lists_and_models_hold_and_say_where() -> None:
    def app(words: list[Short], query: Query) -> None: ...

    with pytest.raises(ArgumentError, match=r"argument 'words'\[1\]: String should have at most 3"):
        bound(app, ["abc", "abcd"], {"text": "x"})
    with pytest.raises(ArgumentError, match=r"argument 'query'\.text: String should have at most"):
        bound(app, [], {"text": "too long"})


def test_a_field_as_a_default_gives_limits_and_default() -> None:
    def app(n: int = Field(3, ge=1), text: str = Field(max_length=2)) -> None: ...

    assert bound(app, text="ab") == {"n": 3, "text": "ab"}
    with pytest.raises(ArgumentError, match="greater than or equal to 1"):
        bound(app, n=0, text="ab")
    with pytest.raises(ArgumentError, match="needs argument 'text'"):
        bound(app)


def test_an_alias_is_another_name_for_callers() -> None:
    def app(q: Annotated[str, Field(alias="question")]) -> None: ...

    assert bound(app, question="why?") == bound(app, q="why?") == bound(app, "why?")
    with pytest.raises(ArgumentError, match="got argument 'q' twice"):
        bound(app, "why?", question="what?")


def test_a_path_is_a_text_where_a_text_is_wanted() -> None:
    def app(file: str, files: list[str], where: Path) -> None: ...

    found = bound(app, Path("a.md"), [Path("b") / "c.md", "d"], Path("e"))
    assert found == {"file": "a.md", "files": [str(Path("b/c.md")), "d"], "where": Path("e")}
    with pytest.raises(ArgumentError, match=r"argument 'files'\[0\]: .*valid string"):
        bound(app, "a", [1], "e")


def test_a_class_that_pydantic_does_not_know_is_checked_by_instance() -> None:
    class Plain:
        pass

    def app(thing: Plain) -> None: ...

    thing = Plain()
    assert bound(app, thing) == {"thing": thing}
    with pytest.raises(ArgumentError, match="instance of"):
        bound(app, "x")


def test_too_many_unknown_missing_and_repeated_arguments_are_named() -> None:
    def app(text: str, n: int = 1) -> None: ...

    with pytest.raises(ArgumentError, match=r"app\(\) takes 2 arguments; got 3"):
        bound(app, "x", 1, 2)
    with pytest.raises(ArgumentError, match=r"has no argument 'm'; it has n, text"):
        bound(app, "x", m=1)
    with pytest.raises(ArgumentError, match=r"needs argument 'text' \(str\)"):
        bound(app)
    with pytest.raises(ArgumentError, match="got argument 'text' twice"):
        bound(app, "x", text="y")


def test_a_keyword_only_argument_has_no_place() -> None:
    @tl.app
    def app(text: str, *, style: str = "short") -> str:
        return f"{text} {style}"

    assert app("a", style="long") == "a long"
    with pytest.raises(ArgumentError, match="takes 1 positional argument; got 2"):
        app("a", "long")


def test_the_check_of_a_type_is_built_once() -> None:
    def app(texts: list[str]) -> None: ...

    parameter = parameters(app)["texts"]
    assert parameter.check is parameter.check


def test_a_parameter_that_an_app_cannot_have_is_refused_with_its_line() -> None:
    def stars(*texts: str) -> None: ...

    def unknown(text: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    line = stars.__code__.co_firstlineno
    with pytest.raises(TypeError, match=rf"test_signature\.py:{line}: .*is \*texts; name each"):
        app_parameters(stars)
    with pytest.raises(GraphError, match="a type that is not known here: .*'Missing'"):
        tl.app(unknown)
