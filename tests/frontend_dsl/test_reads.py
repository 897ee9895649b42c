"""A redefined prompt, tool or global is seen; the programs that an app keeps are bounded."""

import sys
import types
from functools import wraps
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

import teola as tl
from frontend_dsl.reads import Reads
from frontend_dsl.traced_programs import MAX_PROGRAMS

NOTEBOOK = """
import teola as tl
llm = tl.LLM("fake:", replies={"v1": "ONE", "v2": "TWO"})
WORD = "v1"
settings = Settings()
STEPS = []

def tail():
    return WORD

@tl.prompt(llm)
def answer(q: str) -> str:
    return f"{tail()} {q}"

@tl.tool(pure=True)
def shout(text: str) -> str:
    return text + "!"

@tl.app
def part(q: str) -> str:
    return answer(q)

@tl.app
def app(q: str) -> str:
    return shout(part(q))

@tl.app
def by_setting(q: str) -> str:
    return tl.join([settings.word(), q], "{text}", " ")
"""


class Base:
    value = "v1"

    def word(self) -> str:
        return self.value


class Settings(Base):
    """What it has is inherited."""


def notebook() -> dict[str, Any]:
    cells: dict[str, Any] = {"__name__": "notebook", "Settings": Settings}
    module = types.ModuleType("notebook")
    module.__dict__.update(cells)
    sys.modules["notebook"] = module
    exec(NOTEBOOK, module.__dict__)
    return module.__dict__


def run_cell(cells: dict[str, Any], source: str) -> None:
    exec(source, cells)


def test_a_global_that_a_helper_of_a_prompt_of_an_inlined_app_reads_is_seen() -> None:
    cells = notebook()
    assert cells["app"]("x") == "ONE!"
    run_cell(cells, "WORD = 'v2'")
    assert cells["app"]("x") == "TWO!"


def test_a_redefined_prompt_is_seen() -> None:
    cells = notebook()
    assert cells["app"]("x") == "ONE!"
    run_cell(cells, "@tl.prompt(llm)\ndef answer(q: str) -> str:\n    return f'v2 {q}'")
    assert cells["app"]("x") == "TWO!"


def test_a_redefined_tool_and_a_redefined_inlined_app_are_seen() -> None:
    cells = notebook()
    assert cells["app"]("x") == "ONE!"
    run_cell(cells, "@tl.tool\ndef shout(text: str) -> str:\n    return text + '?'")
    assert cells["app"]("x") == "ONE?"
    run_cell(cells, "@tl.app\ndef part(q: str) -> str:\n    return q")
    assert cells["app"]("x") == "x?"


def test_an_attribute_that_a_method_of_a_global_reads_is_seen() -> None:
    cells = notebook()
    assert cells["by_setting"]("x") == "v1 x"
    cells["settings"].value = "v2"
    assert cells["by_setting"]("x") == "v2 x"
    run_cell(cells, "settings.word = lambda: 'v3'")
    assert cells["by_setting"]("x") == "v3 x"


def test_a_changed_variable_of_an_enclosing_function_is_seen() -> None:
    word = "first"

    @tl.app
    def app(q: str) -> str:
        return tl.join([word, q], "{text}", " ")

    assert app("x") == "first x"
    word = "second"
    assert app("x") == "second x"


def test_what_a_lambda_inside_and_a_wrapped_function_read_is_seen() -> None:
    word = "first"

    def loud(function: Any) -> Any:
        @wraps(function)
        def call(*args: Any) -> Any:
            return function(*args)

        return call

    @loud
    def say(text: str) -> str:
        return tl.join([word, text], "{text}", " ")

    @tl.app
    def app(texts: list[str]) -> list[str]:
        return tl.map(lambda text: say(text), texts)

    assert app(["x"]) == ["first x"]
    word = "second"
    assert app(["x"]) == ["second x"]


def test_what_only_code_inside_a_function_names_is_read() -> None:
    cells = notebook()
    run_cell(
        cells,
        "@tl.app\ndef app(qs: list[str]) -> list[str]:\n    return tl.map(lambda q: answer(q), qs)",
    )
    assert cells["app"](["x"]) == ["ONE"]
    run_cell(cells, "WORD = 'v2'")
    assert cells["app"](["x"]) == ["TWO"]


def test_what_is_not_changed_keeps_the_program() -> None:
    cells = notebook()
    app = cells["app"]
    app("x")
    program = app._prepare(("x",), {})[0]
    run_cell(cells, "UNRELATED = 1")
    assert app._prepare(("y",), {})[0] is program


def test_programs_of_an_app_are_bounded() -> None:
    @tl.app
    def app(q: str, number: int) -> str:
        return tl.join([q, str(number)], "{text}", " ")

    for number in range(MAX_PROGRAMS + 20):
        assert app("x", number) == f"x {number}"
    assert len(app._traced) == MAX_PROGRAMS


def test_components_are_found_through_prompts_stores_and_lists() -> None:
    embedder, store_llm, in_list = tl.Embedder("fake:"), tl.LLM("fake:"), tl.LLM("fake:")
    store = tl.Store("fake:", embedder=embedder)

    @tl.prompt(store_llm)
    def ask(q: str) -> str:
        return q

    models = [in_list]

    def app(q: str) -> Any:
        return store, ask, models

    reads = Reads(app)
    assert {id(c) for c in reads.components.values()} >= {
        id(embedder),
        id(store_llm),
        id(in_list),
        id(store),
    }
    assert not reads.makes_components


def test_code_that_makes_components_is_known() -> None:
    def app(q: str) -> Any:
        return tl.LLM("fake:"), q

    assert Reads(app).makes_components


def test_a_proxy_is_not_asked_for_anything() -> None:
    class Proxy:
        """Stands for something that is there later only, as a web framework's request does."""

        @property
        def __class__(self) -> type:
            raise RuntimeError("nothing there yet")

        @__class__.setter
        def __class__(self, value: type) -> None: ...

        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            raise RuntimeError("nothing there yet")

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("nothing there yet")

    request = Proxy()

    def app(q: str) -> Any:
        return request, q

    assert Reads(app).are_current()


echo = tl.LLM("fake:", replies={"v1": "ONE", "v2": "TWO"})


class Writer:
    word = "v1"
    count = 0

    def __init__(self) -> None:
        self.tone = "v1"

    @tl.prompt(echo)
    def ask(self, q: str) -> str:
        return f"{self.tone} {q}"

    @tl.app
    def part(self, q: str) -> str:
        return self.ask(q)

    @classmethod
    def told(cls) -> str:
        return cls.word

    @tl.tool(pure=True)
    def shout(self, text: str) -> str:
        return f"{text}{self.count}"

    @tl.app
    def by_prompt(self, q: str) -> str:
        return self.ask(q)

    @tl.app
    def by_part(self, q: str) -> str:
        return self.part(q)

    @tl.app
    def by_class(self, q: str) -> str:
        return tl.join([self.told(), q], "{text}", " ")

    @tl.app
    def by_tool(self, q: str) -> str:
        return self.shout(q)


def test_an_attribute_that_a_prompt_or_app_of_the_same_object_reads_is_seen() -> None:
    writer = Writer()
    assert (writer.by_prompt("x"), writer.by_part("x")) == ("ONE", "ONE")
    writer.tone = "v2"
    assert (writer.by_prompt("x"), writer.by_part("x")) == ("TWO", "TWO")


def test_an_attribute_that_a_class_method_reads_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    assert writer.by_class("x") == "v1 x"
    monkeypatch.setattr(Writer, "word", "v2")
    assert writer.by_class("x") == "v2 x"


def test_what_a_tool_of_the_object_reads_traces_nothing_anew() -> None:
    writer = Writer()
    program = writer.by_tool._prepare(("x",), {})[0]
    writer.count = 1
    assert writer.by_tool._prepare(("x",), {})[0] is program


class Checked(BaseModel):
    model_config = ConfigDict(validate_assignment=True)
    tone: str = "v1"


def test_a_model_that_checks_what_it_is_assigned_is_read_anew() -> None:
    model = Checked()

    @tl.app
    def toned(q: str) -> str:
        return tl.join([model.tone, q], "{text}", " ")

    assert toned("x") == "v1 x"
    model.tone = "v2"
    assert toned("x") == "v2 x"


class Link:
    def __init__(self, tone: str, behind: Any) -> None:
        self.tone, self.behind = tone, behind


def test_an_app_may_read_objects_that_hold_one_another_deep() -> None:
    last = first = Link("v1", None)
    for _ in range(3000):
        first = Link("", first)

    def tone() -> str:
        link = first
        while link.behind is not None:
            link = link.behind
        return link.tone

    @tl.app
    def toned(q: str) -> str:
        return tl.join([tone(), q], "{text}", " ")

    assert toned("x") == "v1 x"
    last.tone = "v2"
    assert toned("x") == "v2 x"
