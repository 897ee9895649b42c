"""Texts of values cannot be read while an app is traced: the source says so where Python cannot."""

import base64
import json
import logging
import math
import re
import sys
import textwrap
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import quote

import pytest

import teola as tl
from teola.errors import SymbolicError

llm = tl.LLM("fake:")
log = logging.getLogger("test")
store = tl.Store("fake:")


@tl.prompt(llm)
def ask(text: str) -> str:
    return f"Ask {text}"


@tl.prompt(llm, out=list[str])
def names(text: str) -> str:
    return f"Names of {text}"


def reads_in(q: str) -> str:
    return "yes" if "World" in f"{q}" else "no"


def compares(q: str) -> str:
    text = f"about {q}"
    return "yes" if text == "about it" else "no"


def asks_length(q: str) -> str:
    return str(len(f"{q}"))


def starts(q: str) -> str:
    return "yes" if f"{q}".startswith("Hello") else "no"


def splits(q: str) -> list[str]:
    return tl.map(ask, f"{q}".split())


def replaces(q: str) -> str:
    text = ask(q)
    return ask(f"{text}".replace("long phrase", "_"))


def uppers(q: str) -> str:
    return ask(f"{q}".upper())


def strips_a_sign(q: str) -> str:
    return ask(f"{q}".strip("."))


def slices(q: str) -> str:
    return ask(f"about {q}"[:2000])


def looks_up(q: str) -> str:
    return {"a": "b"}[f"{q}"]


def asks_type(q: str) -> str:
    return "text" if isinstance(q, str) else "other"


def prints_a_value(q: str) -> str:
    print("the question", q)
    return ask(q)


def prints_a_text(q: str) -> str:
    answer = ask(q)
    print(f"got {answer}")
    return answer


def logs(q: str) -> str:
    log.info("got %s", q)
    return ask(q)


def logs_by_module(q: str) -> str:
    logging.warning(f"got {q}")
    return ask(q)


def logs_by_a_logger_of_its_own(q: str) -> str:
    mine = logging.getLogger("mine")
    mine.warning(f"got {q}")
    return ask(q)


def logs_by_a_field(q: str, n: int = 1) -> str:
    self = Namespace(_log=log, n=n)
    self._log.info(f"got {q}")
    return ask(q)


def warns(q: str) -> str:
    warnings.warn(f"got {q}", stacklevel=2)
    return ask(q)


def takes_a_default(q: str) -> str:
    return ask(f"{q}" or "nothing")


def asks_whether_it_is_empty(q: str) -> str:
    text = f" {q} "
    return ask(q) if text.strip() else "nothing"


def looks_in_an_if(q: str) -> str:
    if not f"{q}".strip():
        return "nothing"
    return ask(q)


def dumps(q: str) -> str:
    return ask(json.dumps({"q": [f"{q}"]}))


def quotes(q: str) -> str:
    return ask(quote(f"{q}"))


def hashes(q: str) -> str:
    return base64.b64encode(f"{q}".encode()).decode()


def searches(q: str) -> str:
    return "yes" if re.search("x", f"{q}") else "no"


def iterates(q: str) -> str:
    for char in f"{q}":
        ask(char)
    return q


def writes_a_file(q: str) -> str:
    with open("notes.txt", "w") as file:
        file.write(f"{q}\n")
    return q


def writes_a_path(q: str) -> str:
    (Path("notes") / "new.txt").write_text(f"{q}\n")
    return q


def writes_the_screen(q: str) -> str:
    sys.stdout.write(f"{q}\n")
    return q


def formats_late(q: str) -> bool:
    return "x" in "about {}".format(q)  # noqa: UP032


def formats_by_sign(q: str) -> bool:
    return "x" in "about %s and %s" % (q, 1)  # noqa: UP031


def adds(q: str) -> bool:
    text = "about "
    text += f"{q}"
    return "x" in text + "."


def joins(q: str) -> bool:
    return "x" in ", ".join(["a", f"{q}"])


def in_a_lambda(q: str) -> list[bool]:
    return tl.map(lambda name: "x" in f"{name}", names(q))


def in_a_function(q: str) -> list[bool]:
    def has_x(name: str) -> bool:
        return "x" in f"{name}"

    return tl.map(has_x, names(q))


def in_a_branch(q: str, n: int = 1) -> str:
    if n:
        return "yes" if f"{q}" in ("a", "b") else "no"
    return q


def in_an_import(q: str) -> str:
    import html

    return ask(html.escape(f"{q}"))


def through_a_comprehension(q: str) -> list[bool]:
    return [word in f"{q}" for word in ("a", "b")]


def matches(q: str) -> str:
    match f"{q}":
        case "a":
            return "yes"
    return q


def has_x(text: str) -> bool:
    return "x" in text


def labelled(text: str) -> str:
    return f"label: {text}"


def through_another_function(q: str) -> bool:
    return has_x(f"{q}")


def through_its_result(q: str) -> bool:
    return "x" in labelled(q)


REFUSED: list[Callable[..., Any]] = [
    value
    for value in list(globals().values())
    if isinstance(value, FunctionType)
    and value.__module__ == __name__
    and value not in (has_x, labelled)
]


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_reading_the_text_of_a_value_is_refused_at_decoration(function: Callable[..., Any]) -> None:
    with pytest.raises(SymbolicError, match=r"known only when the app runs.*tl\.tool") as caught:
        tl.app(function)
    first = function.__code__.co_firstlineno
    assert caught.value.file.endswith("test_source_check.py")
    assert first < caught.value.line <= first + 4 or function is through_another_function


def plain_texts(q: str, style: str = "short", n: int = 1, note: str | None = None) -> str:
    known = f"style {n}"
    lines = [line.strip().upper() for line in known.splitlines() if "style" in line]
    print(known, len(known), json.dumps({"n": n}))
    text = f"""
        Write about {q}.
    """.strip()
    if "1" in known and note is None:
        text = "nothing".replace("n", "N")
    else:
        text = f"{text}, {lines[0]}"
    for q2 in ("a", "b"):
        known += q2
    return ask(text)


def names_that_change(q: str, n: int = 1) -> str:
    text = f"{q}"
    if n > 1:
        text = "known"
    for _ in range(n):
        text = "known too"
    return ask(text) if "known" in text else ask("x")


def optional(q: str, note: str | None = None) -> str:
    text = f"{note}"
    return ask(q) if "None" in text else ask(text)


def whole_texts(q: str) -> str:
    head = textwrap.dedent(f"""
        About {q}:
    """)
    return ask("\n".join([head, "more {}".format(q), "%s!" % q, str(q)]))  # noqa: UP031, UP032


def collections_of_texts(q: str) -> list[str]:
    texts = list([f"{q}", "b"])  # noqa: C410
    return [*texts, str(len([f"{q}"])), *tuple([f"{q}"])]  # noqa: C409


def is_none(q: str) -> str:
    return ask(q) if q is not None and f"{q}" is not None else "x"


def other_methods(q: str) -> str:
    catalog = Namespace(info=ask)
    return ask(f"{catalog.info(f'{q}')} {math.log(2)}")


def never_empty(q: str, n: int = 0) -> str:
    text = f"about {q}"
    known = f"{n}"
    head = "" if not known else text or "x"
    if text and text.strip() and n + 1:
        return ask(head)
    return ask("x")


def shadows(q: str) -> list[int]:
    return [len(q) for q in ("a", "bc")]


ACCEPTED = [
    plain_texts,
    names_that_change,
    whole_texts,
    collections_of_texts,
    is_none,
    never_empty,
    other_methods,
    shadows,
]


@pytest.mark.parametrize("function", ACCEPTED, ids=lambda f: f.__name__)
def test_ordinary_programs_are_left_alone(function: Callable[..., Any]) -> None:
    assert tl.app(function).graph().outputs


LAMBDAS: list[Callable[[str], Any]] = [
    lambda q: "x" in f"{q}", lambda q: len(f"{q}"),
    lambda q: tl.map(
        lambda name: ask(name) if name else isinstance(name, str), names(q)
    ),
]  # fmt: skip


@pytest.mark.parametrize("body", LAMBDAS)
def test_a_lambda_is_checked_too(body: Callable[[str], Any]) -> None:
    def app(question: str) -> Any:
        return body(question)

    with pytest.raises(SymbolicError, match="known only when the app runs") as caught:
        tl.app(app)
    line = body.__code__.co_firstlineno
    assert line <= caught.value.line <= line + 2


def test_what_an_argument_is_counts_when_a_prompt_is_called() -> None:
    @tl.prompt(llm)
    def styled(topic: str, style: str) -> str:
        word = "few" if "short" in f"{style}" else "many"
        return f"Use {word} words about {topic}"

    @tl.app
    def known(topic: str) -> str:
        return styled(topic, "short")

    @tl.app
    def late(topic: str) -> str:
        return styled("cats", topic)

    assert "Use few words" in str(known.graph())
    with pytest.raises(SymbolicError, match="`in` reads"):
        late.graph()


def test_an_optional_argument_is_checked_when_it_is_given() -> None:
    app = tl.app(optional)
    app.graph(q="x", note=None)
    with pytest.raises(SymbolicError, match="`in` reads"):
        app.graph(q="x", note="y")


def test_awaited_values_of_an_async_app_are_texts() -> None:
    @tl.app
    async def awaited(q: str) -> str:
        text = await tl.value(ask(q))
        return "yes" if "reply" in f"{text}" and len(f"{q}") == 1 else "no"

    assert awaited("x") == "yes"


def test_values_of_an_async_app_that_nobody_awaited_are_none() -> None:
    async def unawaited(q: str) -> str:
        text = ask(q)
        return "yes" if "reply" in f"{text}" else "no"

    with pytest.raises(SymbolicError, match="`in` reads"):
        tl.app(unawaited)


def test_a_function_without_source_is_left_alone() -> None:
    scope: dict[str, Any] = {"ask": ask}
    exec("def made(q: str) -> str:\n    return ask(q)", scope)
    assert "ask" in str(tl.app(scope["made"]).graph())


def test_a_file_that_was_changed_meanwhile_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "written.py"
    file.write_text("def made(q: str) -> str:\n    return ask(q)\n")
    scope: dict[str, Any] = {"ask": ask}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    file.write_text("def made(q: str) -> str:\n    return ask(f'{q}'[:9])\n")
    assert "ask" in str(tl.app(scope["made"]).graph())


def test_a_file_that_is_as_it_was_is_read(tmp_path: Path) -> None:
    file = tmp_path / "written.py"
    file.write_text("def made(q: str) -> str:\n    return ask(f'{q}'[:9])\n")
    scope: dict[str, Any] = {"ask": ask}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    with pytest.raises(SymbolicError, match="a slice"):
        tl.app(scope["made"])
