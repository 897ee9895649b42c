"""A marker is whole or it is refused: whatever changed it on the way is seen."""

import base64
import codecs
import copy
import heapq
import html
import inspect
import json
import pickle
import pprint
import re
import shlex
import statistics
import string
import textwrap
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode
from xml.sax import saxutils

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import teola as tl
from frontend_dsl.marked_texts import is_mangled
from frontend_dsl.markers import find_marks, is_spoilt, mark
from teola.errors import SymbolicError, TraceError

TEXT = f"About {mark(77)} and\n   more"

SPOIL: dict[str, Callable[[str], Any]] = {
    "json": json.dumps,
    "json in utf-8": lambda t: json.dumps(t, ensure_ascii=False),
    "quote twice": lambda t: quote(quote(t)),
    "json twice": lambda t: json.dumps(json.dumps(t)),
    "quote": quote,
    "quote, lower case": lambda t: quote(t).lower(),
    "quote_plus": quote_plus,
    "urlencode": lambda t: urlencode({"q": t}),
    "repr": repr,
    "ascii": ascii,
    "pprint": pprint.pformat,
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "capitalize": str.capitalize,
    "swapcase": str.swapcase,
    "casefold": str.casefold,
    "split": str.split,
    "splitlines": str.splitlines,
    "split at a sign": lambda t: t.split("-"),
    "partition": lambda t: t.partition(":"),
    "replace a space": lambda t: t.replace(" ", "_"),
    "replace a line break": lambda t: t.replace("\n", " "),
    "replace a letter": lambda t: t.replace("e", "E"),
    "one line": lambda t: " ".join(t.split()),
    "regular expression": lambda t: re.sub(r"\s+", " ", t),
    "several spaces": lambda t: re.sub(" +", " ", t),
    "digits": lambda t: re.sub(r"\d+", "#", t),
    "slug": lambda t: re.sub(r"\W+", "-", t).lower(),
    "ascii only": lambda t: t.encode("ascii", "ignore").decode(),
    "head": lambda t: t[:50],
    "in the edge": lambda t: t[:10],
    "tail": lambda t: t[20:],
    "a bit less": lambda t: mark(1)[1:],
    "a bit less at the end": lambda t: mark(1)[:-2],
    "backwards": lambda t: t[::-1],
    "one character": lambda t: t[20:22],
    "indent": lambda t: textwrap.indent(t, "  "),
    "fill": lambda t: textwrap.fill(t, 20),
    "shorten": lambda t: textwrap.shorten(t, 400),
    "html": html.escape,
    "xml": saxutils.escape,
    "numeric references": lambda t: t.encode("ascii", "xmlcharrefreplace").decode(),
    "backslashes": lambda t: t.encode("ascii", "backslashreplace").decode(),
    "names": lambda t: t.encode("ascii", "namereplace").decode(),
    "shell": shlex.quote,
    "pattern": re.escape,
    "bytes": str.encode,
    "bytes shown": lambda t: str(t.encode()),
    "rot13": lambda t: codecs.encode(t, "rot13"),
    "translate": lambda t: t.translate(str.maketrans("abc", "xyz")),
    "printable": lambda t: "".join(c for c in t if c in string.printable),
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_changed_marker_is_seen(how: str) -> None:
    changed = SPOIL[how](TEXT)
    pieces = changed if isinstance(changed, (list, tuple)) else [changed]
    assert any(map(is_mangled, pieces))
    if isinstance(changed, str):
        assert not list(find_marks(changed))


KEEP: dict[str, Callable[[str], Any]] = {
    "nothing": lambda t: t,
    "dedent": lambda t: textwrap.dedent(f"\n    One {t}\n    two\n"),
    "cleandoc": lambda t: inspect.cleandoc(f"\n    One {t}\n    two\n"),
    "strip around": lambda t: f"\n a {t} b\n".strip(),
    "normal form": lambda t: unicodedata.normalize("NFC", t),
    "join": lambda t: ", ".join([t, "x"]),
    "format": lambda t: "{} {a}".format(t, a=1),  # noqa: UP032
    "percent": lambda t: "%s %d" % (t, 1),  # noqa: UP031
    "template": lambda t: string.Template("$t").substitute(t=t),
    "utf-8": lambda t: t.encode().decode(),
}


@pytest.mark.parametrize("how", KEEP)
def test_a_whole_marker_is_found_and_no_rest_is_left(how: str) -> None:
    text = KEEP[how](mark(5))
    assert [(m.number, m.stripped) for m in find_marks(text)] == [(5, None)]
    assert not is_mangled(text)


def test_strip_is_understood_at_the_edge() -> None:
    def sides(text: str) -> list[str | None]:
        return [found.stripped for found in find_marks(text)]

    assert sides(f" {mark(1)}\n".strip()) == ["both"]
    assert sides(f"a {mark(1)}\n".rstrip()) == ["right"]
    assert sides(f"{mark(1)}{mark(2)}".strip()) == ["left", "right"]
    assert sides(f"{mark(1)}{mark(2)}") == [None, None]


@given(st.text())
def test_texts_of_people_are_no_markers(text: str) -> None:
    assert not is_spoilt(text)
    assert not list(find_marks(text))


@pytest.mark.parametrize("text", ["\ufdd0teola:1\ufdd1", "<symbolic %q: str>", "\x1f\x1f", "%F4"])
def test_what_only_looks_like_a_marker_stays_as_it_is(text: str) -> None:
    @tl.app
    def app(question: str) -> list[str]:
        return [text, question]

    assert app(text) == [text, text]


@tl.prompt(tl.LLM("fake:", replies={"": "said"}))
def ask(text: str) -> str:
    return text


@tl.tool
def note(text: Any) -> str:
    return f"noted {text}"


class Box:
    def __init__(self, text: Any) -> None:
        self.text = text


REACHED: dict[str, Callable[[str], Any]] = {
    "a prompt": lambda t: ask(t.upper()),
    "a tool": lambda t: note(t.upper()),
    "a keyword": lambda t: note(text=t.upper()),
    "a list for a tool": lambda t: note(["x", t[:30]]),
    "a set for a tool": lambda t: note({t[:30]}),
    "bytes for a tool": lambda t: note(t.encode()),
    "a path for a tool": lambda t: note(Path(t)),
    "an object for a tool": lambda t: note(Box([Box(t[:30])])),
    "a whole text in an object": lambda t: note(Box({"a": t})),
    "a dict's values for a tool": lambda t: note({"a": t}.values()),
    "the result": lambda t: t.replace(" ", "_"),
    "a template": lambda t: tl.join(["a"], t.lower()),
    "a url": lambda t: tl.Store(f"fake:{t}").search("x", mode="bm25"),
    "an option": lambda t: tl.prompt(tl.LLM("fake:", replies={"": t}))(lambda: "Say it.")(),
    "repr of a value": lambda t: ask(f"{note(t)!r}"),
    "repr of a list": lambda t: ask(f"{[note(t)]}"),
    "json of repr": lambda t: ask(json.dumps(repr(note(t)))),
}


@pytest.mark.parametrize("where", REACHED)
def test_no_piece_of_a_marker_reaches(where: str) -> None:
    @tl.app
    def app(question: str) -> Any:
        return REACHED[where](f"about {question}")

    with pytest.raises(SymbolicError) as caught:
        app.graph()
    assert caught.value.file.endswith("test_markers.py")


def test_a_text_of_a_trace_that_is_over_is_refused() -> None:
    kept: list[str] = []

    @tl.app
    def first(question: str) -> str:
        kept.append(f"{question}")
        return question

    @tl.app
    def second(question: str) -> str:
        return f"{question} {kept[0]}"

    first.graph()
    with pytest.raises(TraceError, match="trace that is over|another trace"):
        second.graph()


STRIPPED: dict[str, tuple[Callable[[str], str], str]] = {
    "both": (lambda q: f" {q} ".strip(), "hello  you"),
    "left": (lambda q: f"{q}!".lstrip(), "hello  you\n!"),
    "in a prompt's text": (lambda q: f"\n Say: {q}\n".strip(), "Say:  hello  you"),
    "inside": (lambda q: f"[{f'{q}'.strip()}]", "[hello  you]"),
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("what", STRIPPED)
def test_strip_works_on_values_of_the_run(what: str, optimize: bool) -> None:
    strip, expected = STRIPPED[what]

    @tl.app
    def app(question: str) -> str:
        return strip(question)

    assert app.using(optimize=optimize)(" hello  you\n") == expected


def test_an_error_about_a_value_can_be_printed() -> None:
    @tl.app
    def app(question: str) -> str:
        raise KeyError(question)

    with pytest.raises(KeyError, match="<symbolic %question: str>"):
        app.graph()


@pytest.mark.parametrize("is_async", [True, False])
def test_the_message_of_the_users_exception_names_the_value(is_async: bool) -> None:
    def refused(question: str) -> str:
        raise ValueError(f"Value too odd: {ask(question)}!", 3)

    async def refused_later(question: str) -> str:
        return refused(question)

    app: Any = tl.app(refused_later if is_async else refused)
    with pytest.raises(ValueError, match="Value too odd: <symbolic %ask>!") as caught:
        app("x")
    assert type(caught.value) is ValueError
    assert caught.value.args[1] == 3


class Refused(Exception):
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"Refused: {self.text}"


def raise_from(text: str) -> None:
    try:
        raise LookupError(text)
    except LookupError as error:
        raise RuntimeError("no") from error


RAISED: dict[str, Callable[[str], Any]] = {
    "a value alone": lambda q: ValueError(q),
    "a text in a list in a dict": lambda q: ValueError({"texts": [f"about {q}", q]}),
    "a text of the exception's own": lambda q: Refused(f"about {q}"),
    "a changed text": lambda q: ValueError(f"about {q}".upper()),
    "repr": lambda q: ValueError(f"about {q!r}"),
}


def assert_readable(text: str) -> None:
    assert text.isprintable()
    assert not find_marks_or_pieces(text)


def find_marks_or_pieces(text: str) -> bool:
    return any(find_marks(text)) or is_spoilt(text)


@pytest.mark.parametrize("what", RAISED)
def test_no_exception_of_the_users_shows_a_marker(what: str) -> None:
    @tl.app
    def app(question: str) -> str:
        raise RAISED[what](question)

    with pytest.raises(Exception, match=r"question|holds values of the run") as caught:
        app.graph()
    assert type(caught.value) is not SymbolicError
    assert_readable(str(caught.value))


def test_no_exception_behind_another_shows_a_marker() -> None:
    @tl.app
    def app(question: str) -> str:
        raise_from(f"no {question}")
        return question

    with pytest.raises(RuntimeError) as caught:
        app.graph()
    assert str(caught.value.__cause__) == "no <symbolic %question>"


class Note(BaseModel):
    words: str


REPORTED: dict[str, Callable[[Any], Any]] = {
    "a key": lambda q: {"a": "b"} and q[q],
    "a result": lambda q: tl.loop(lambda state: state, q, max=2),
    "a list": lambda q: ask([q]),
    "a model": lambda q: Note(words=q),
}


@pytest.mark.parametrize("what", REPORTED)
def test_no_message_about_a_value_holds_its_hidden_sign(what: str) -> None:
    @tl.app
    def app(question: str) -> Any:
        return REPORTED[what](question)

    with pytest.raises(TraceError) as caught:
        app.graph()
    assert_readable(str(caught.value).replace("\n", " "))


@pytest.mark.parametrize("is_async", [True, False])
def test_a_misuse_that_the_users_code_catches_is_still_one(is_async: bool) -> None:
    def number_of(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            return 0

    def counted(question: str) -> str:
        return ask(f"{question} {number_of(question)}")

    async def counted_later(question: str) -> str:
        return counted(ask(question))

    app: Any = tl.app(counted_later if is_async else counted)
    with pytest.raises(SymbolicError, match="turned into a number") as caught:
        app("x")
    assert caught.value.file.endswith("test_markers.py")


IN_LIBRARIES: dict[str, tuple[Callable[[str], Any], str]] = {
    "heapq": (lambda q: heapq.nsmallest(1, [q, ask(q)]), "is compared"),
    "pickle": (lambda q: pickle.dumps([q]), "is pickled"),
    "statistics": (lambda q: statistics.mean([q, q]), "known only when the app runs"),
}


@pytest.mark.parametrize("library", IN_LIBRARIES)
def test_a_misuse_in_a_library_is_at_the_users_line(library: str) -> None:
    @tl.app
    def app(question: str) -> Any:
        return IN_LIBRARIES[library][0](question)  # where no source check finds it

    with pytest.raises(SymbolicError, match=IN_LIBRARIES[library][1]) as caught:
        app.graph()
    assert caught.value.file.endswith("test_markers.py")


def test_a_result_that_holds_a_value_inside_an_object_names_the_app() -> None:
    @tl.app
    def app(question: str) -> Any:
        return Box(question)

    with pytest.raises(SymbolicError, match="Box.text holds a value of the run") as caught:
        app.graph()
    assert caught.value.line == app._function.__code__.co_firstlineno


def test_a_copy_of_a_value_is_the_value() -> None:
    @tl.app
    def app(question: str) -> list[str]:
        return copy.deepcopy([question, copy.copy(question)])

    assert app("x") == ["x", "x"]


SHOWN: dict[str, Callable[[Any], None]] = {
    "alone": lambda v: print(v),
    "first": lambda v: print(v, "b", sep=" "),
}


@pytest.mark.parametrize("how", SHOWN)
def test_print_of_a_value_says_what_to_do(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    @tl.app
    def app(question: str) -> str:
        SHOWN[how](question)  # where no source check finds it
        return question

    with pytest.raises(SymbolicError, match=r"shown by print\(\).*tl\.tool"):
        app.graph()
    assert capsys.readouterr().out == ""


def test_base64_is_refused_where_the_text_becomes_bytes() -> None:
    def encoded(question: str) -> str:
        return base64.b64encode(f"{question}".encode()).decode()

    with pytest.raises(SymbolicError, match="encode"):
        tl.app(encoded)
