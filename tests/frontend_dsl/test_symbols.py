"""Names of engines, functions and types in graphs."""

import sys
import threading
from typing import Any

import teola as tl
from frontend_dsl.symbols import Symbols


def test_a_tool_made_anew_in_each_run_of_an_async_app_is_compiled_once() -> None:
    @tl.app
    async def app(q: str) -> str:
        @tl.tool(pure=True)
        def twice(x: str) -> str:
            return x + q

        return await tl.value(twice(q))

    run: Any = app
    assert [run(f"q{i}") for i in range(5)] == [f"q{i}q{i}" for i in range(5)]
    assert len(app._segments) == 1


def test_two_functions_of_one_name_keep_apart_in_a_segment() -> None:
    def tool(number: int) -> Any:
        @tl.tool(pure=True)
        def add(x: str) -> str:
            return f"{x}{number}"

        return add

    @tl.app
    async def app(q: str) -> str:
        return await tl.value(tool(2)(tool(1)(q)))

    run: Any = app
    assert (run("x"), run("y")) == ("x12", "y12")


def test_a_component_keeps_its_name_also_where_that_of_its_variable_is_taken() -> None:
    llm = tl.LLM("fake:", max_context_tokens=1)
    symbols = Symbols({"llm": llm})
    unnamed, named = (tl.LLM("fake:", max_context_tokens=n) for n in (2, 3))
    named.name = "judge"
    twin = tl.LLM("fake:", max_context_tokens=2)
    found = [symbols.engine(each) for each in (unnamed, llm, llm, named, twin, named, unnamed)]
    assert found == ["llm", "llm_2", "llm_2", "judge", "llm", "judge", "llm"]


def test_components_of_own_names_keep_apart_where_one_engine_serves_them() -> None:
    symbols = Symbols({})
    one, two, unnamed = tl.LLM("fake:", name="one"), tl.LLM("fake:", name="two"), tl.LLM("fake:")
    assert [symbols.engine(each) for each in (one, two, unnamed)] == ["one", "two", "one"]


def test_threads_name_engines_without_mixing_them_up() -> None:
    variables: dict[str, Any] = {}
    symbols = Symbols(variables)
    models = [tl.LLM("fake:", max_context_tokens=n) for n in range(200)]
    names: list[list[str]] = [[], [], []]
    failures: list[BaseException] = []

    def trace(found: list[str]) -> None:
        try:
            for number, model in enumerate(models):
                variables[f"v{number}_{id(found)}"] = number  # as code of other threads does
                found.append(symbols.engine(model))
                symbols.value("f", found)
        except BaseException as error:  # a thread must not end silently
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=trace, args=(found,)) for found in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)

    assert failures == []
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == len(symbols.engines) == len(models)
    assert sorted(map(id, symbols.values.values())) == sorted(map(id, names))
