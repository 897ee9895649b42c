"""Schemas of tools from signatures and docstrings, and the check of arguments."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import teola as tl
from frontend_dsl.agents.agent_tools import callee_of, callees_of, result_text
from frontend_dsl.agents.arguments import WrongArguments, arguments_of
from frontend_dsl.agents.docstrings import read_docstring
from teola.errors import DefinitionError

GOOGLE = """Find passages.

    In the handbook.

    Args:
        query (str): what to find,
            in words
        k: how many

    Returns:
        list: of them
    """
NUMPY = """Find passages.

    In the handbook.

    Parameters
    ----------
    query : str
        what to find,
        in words
    k : int, optional
        how many

    Returns
    -------
    found : list
        of them
    """
SPHINX = """Find passages.

    In the handbook.

    :param query: what to find,
        in words
    :param int k: how many
    :returns: of them
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX])
def test_a_docstring_of_each_style_says_what_the_parameters_are(text: str) -> None:
    docs = read_docstring(text)
    assert docs.about == "Find passages.\n\nIn the handbook."
    assert docs.parameters == {"query": "what to find, in words", "k": "how many"}


@pytest.mark.parametrize("text", [None, "", "Find: the best of all.", "Note this: x\nand more"])
def test_a_docstring_without_sections_is_all_about_the_function(text: str | None) -> None:
    assert read_docstring(text).parameters == {}
    assert read_docstring(text).about == (text or "")


class Place(BaseModel):
    city: str


def book(
    place: Place,
    nights: int = 1,
    kind: Annotated[Literal["single", "double"], Field(description="of room")] = "single",
    schema: str = "",
) -> str:
    """Book a room.

    Args:
        nights: how long
        kind: not this
    """
    return f"{place.city} {nights} {kind} {schema}"


def test_the_schema_of_a_tool_has_types_descriptions_and_what_is_required() -> None:
    schema: Any = arguments_of("book", book).schema
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["nights"] == {
        "default": 1,
        "description": "how long",
        "type": "integer",
    }
    assert schema["properties"]["kind"]["description"] == "of room"
    assert schema["properties"]["kind"]["enum"] == ["single", "double"]
    assert "title" not in str(schema)


def test_arguments_are_checked_and_have_the_declared_types() -> None:
    arguments = arguments_of("book", book)
    assert arguments.check({"place": {"city": "Rome"}, "nights": "3"}) == {
        "place": Place(city="Rome"),
        "nights": 3,
    }
    with pytest.raises(WrongArguments, match=r"place: Field required; night: Extra inputs"):
        arguments.check({"night": 3})


def test_a_tool_without_names_for_its_arguments_is_refused() -> None:
    def run(*words: str) -> str:
        return " ".join(words)

    with pytest.raises(DefinitionError, match=r"the tool run\(\) has \*words: a model names each"):
        callee_of(run)


def test_two_tools_of_one_name_and_what_is_no_tool_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two tools have the name 'book'"):
        callees_of([book, tl.tool(book)])
    with pytest.raises(DefinitionError, match="3 is no tool"):
        callee_of(3)


def test_a_method_is_a_tool_without_its_object() -> None:
    class Desk:
        @tl.tool
        def open(self, room: int) -> int:
            """Open a room."""
            return room

        def close(self, room: int) -> int:
            return room

    desk = Desk()
    for callee in (callee_of(desk.open), callee_of(desk.close)):
        assert list(callee.arguments.schema["properties"]) == ["room"]  # type: ignore[arg-type, call-overload]


def test_apps_and_agents_are_tools() -> None:
    llm = tl.LLM("fake:")

    @tl.app
    def search(query: str, k: int = 3) -> str:
        """Search the handbook."""
        return query

    writer = tl.Agent("writer", llm, description="Writes poems.")
    of_app, of_agent = callee_of(search), callee_of(writer)
    assert (of_app.name, of_app.about) == ("search", "Search the handbook.")
    assert list(of_app.arguments.schema["properties"]) == ["query", "k"]  # type: ignore[arg-type, call-overload]
    assert (of_agent.name, of_agent.about) == ("writer", "Writes poems.")
    assert list(of_agent.arguments.schema["properties"]) == ["task"]  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, "done"),
        (Place(city="Rome"), '{"city":"Rome"}'),
        ([Place(city="Rome")], '[{"city": "Rome"}]'),
        ([tl.Doc("tea")], '["tea"]'),
        ({"ü": 1}, '{"ü": 1}'),
    ],
)
def test_results_read_as_text_or_json(value: Any, text: str) -> None:
    assert result_text(value) == text
