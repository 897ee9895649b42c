"""Random programs in the DSL, as source text, and what they mean when Python itself runs them.

A program is a list of assignments to texts (`s0`, `s1` ...) and lists of texts (`l0` ...). All of
them are returned, so that everything in it is used. The same text runs as an app and, with `tl`
replaced by `Plainly`, as ordinary Python.
"""

import hashlib
import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from itertools import count
from typing import Any

from hypothesis import strategies as st

import teola as tl
from backends.fake.llm import FakeLLM

LLM = tl.LLM("fake:")
_numbers = count()


def _odd(text: str) -> bool:
    return bool(hashlib.sha256(text.encode()).digest()[0] & 1)


class Journal:
    """What the impure tools did, and how they behave."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def send(self, text: str) -> str:
        self.done.append(text)
        return f"sent {len(self.done)}"

    def send_some(self, text: str) -> str:
        self.done.append(text)
        if text.endswith("3"):
            raise RuntimeError(f"cannot send {text[:20]!r}")
        return f"sent {len(self.done)}"

    def so_far(self, text: str) -> str:
        return f"{len(self.done)} before {len(text)}"


def shorten(text: str) -> str:
    return text[-12:]


def pick(text: str) -> str:
    if hashlib.sha256(text.encode()).digest()[1] < 70:
        raise ValueError(f"nothing in {text[-20:]!r}")
    return text.split()[0]


def words(text: str) -> list[str]:
    return text.split()[-3:]


def is_odd(text: str) -> bool:
    return _odd(text)


class Plainly:
    """The DSL's functions as plain Python."""

    @staticmethod
    def map(function: Callable[..., Any], items: Sequence[Any], *, on_error: str = "raise") -> Any:
        results = []
        for item in items:
            try:
                results.append(function(item))
            except Exception as error:
                if on_error == "raise":
                    raise
                results += [str(error)] if on_error == "keep" else []
        return results

    @staticmethod
    def attempt(function: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return function()
        except Exception as error:
            if not callable(otherwise):
                return otherwise
            return otherwise(*[str(error)][: len(signature(otherwise).parameters)])

    @staticmethod
    def cond(condition: bool, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        return then() if condition else otherwise()

    @staticmethod
    def loop(step: Callable[[Any], tuple[Any, bool]], state: Any, *, max: int) -> Any:
        for _ in range(max):
            state, again = step(state)
            if not again:
                break
        return state

    @staticmethod
    def join(items: Sequence[str], template: str = "{text}", sep: str = "\n") -> str:
        return sep.join(template.format(text=item, i=i) for i, item in enumerate(items, 1))

    @staticmethod
    def flatten(lists: Sequence[Sequence[Any]], *, unique: bool = False) -> list[Any]:
        items = [item for part in lists for item in part]
        return list(dict.fromkeys(items)) if unique else items

    @staticmethod
    def sorted(items: Sequence[Any], *, key: Any = None, reverse: bool = False) -> list[Any]:
        return sorted(items, key=key, reverse=reverse)

    @staticmethod
    async def value(x: Any) -> Any:
        return x

    @staticmethod
    def filter(function: Callable[[Any], bool], items: Sequence[Any]) -> list[Any]:
        return [item for item in items if function(item)]


def plain_ask(prompt: Callable[[str], str]) -> Callable[[str], str]:
    """What the fake model answers to a prompt function."""
    model = FakeLLM("fake:", {})
    return lambda text: model._reply(f"<|user|>{prompt(text)}<|assistant|>", None, {})


@dataclass(frozen=True)
class Program:
    """Its text, and what it is called with."""

    lines: tuple[str, ...]
    returned: str
    is_async: bool = False
    question: str = field(default="what is it")

    @property
    def source(self) -> str:
        head = "async def app(q: str) -> list:" if self.is_async else "def app(q: str) -> list:"
        return "\n".join([head, *(f"    {line}" for line in self.lines), f"    {self.returned}\n"])

    def function(self, names: dict[str, Any]) -> Any:
        """The function it defines, with its source where `inspect` finds it."""
        file = f"<program {next(_numbers)}>"
        source = self.source
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), names)
        return names["app"]


def app_names(journal: Journal, llm: tl.LLM = LLM) -> dict[str, Any]:
    """What a program sees as an app."""

    @tl.prompt(llm)
    def ask(text: str) -> str:
        return f"Say: {text}."

    return {
        "tl": tl,
        "ask": ask,
        "send": tl.tool(journal.send),
        "send_some": tl.tool(journal.send_some),
        "so_far": tl.tool(reads=True)(journal.so_far),
        **{f.__name__: tl.tool(pure=True)(f) for f in (shorten, pick, words, is_odd)},
    }


def plain_names(journal: Journal) -> dict[str, Any]:
    """What a program sees as plain Python."""
    return {
        "tl": Plainly,
        "ask": plain_ask(lambda text: f"Say: {text}."),
        "send": journal.send,
        "send_some": journal.send_some,
        "so_far": journal.so_far,
        **{f.__name__: f for f in (shorten, pick, words, is_odd)},
    }


CALLS = ("ask", "ask", "shorten", "pick", "send", "send_some", "so_far")
PURE_CALLS = ("ask", "shorten", "pick")


@st.composite
def programs(draw: Any, is_async: bool = False) -> Program:
    """A random program of up to eight assignments."""
    writer = _Writer(draw, is_async)
    for _ in range(draw(st.integers(2, 9))):
        writer.assign()
    return Program(tuple(writer.lines), writer.returned(), is_async)


class _Writer:
    def __init__(self, draw: Any, is_async: bool) -> None:
        self.draw = draw
        self.is_async = is_async
        self.texts = ["q"]
        self.lists: list[str] = []
        self.real: set[str] = {"q"} if is_async else set()  # known when the program runs
        self.lines: list[str] = []

    def one_of(self, values: Sequence[str]) -> str:
        return str(self.draw(st.sampled_from(values)))

    def assign(self) -> None:
        kinds = ["text"] * 4 + ["words", "cond", "loop", "attempt"]
        if self.lists:
            kinds += ["map"] * 3 + ["join", "flatten", "sorted", "filter", "slice", "item"]
        if self.is_async:
            kinds += ["value"] * 2
        getattr(self, f"_{self.one_of(kinds)}")()

    def returned(self) -> str:
        joined = (f"tl.join({name}, '{{i}}: {{text}}', sep='|')" for name in self.lists)
        everything = f"[{', '.join([*self.texts, *joined])}]"
        return f"return {everything}"

    def text(self) -> str:
        """An expression of a text: a name, or an f-string around some."""
        names = self.draw(st.lists(st.sampled_from(self.texts), min_size=1, max_size=2))
        if len(names) == 1 and self.draw(st.booleans()):
            return str(names[0])
        inner = " and ".join(f"{{{name}}}" for name in names)
        return f'f"on {inner}"'

    def call(self, argument: str, calls: Sequence[str] = CALLS) -> str:
        return f"{self.one_of(calls)}({argument})"

    def _new_text(self, expression: str) -> None:
        name = f"s{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        self.texts.append(name)

    def _new_list(self, expression: str) -> None:
        name = f"l{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        self.lists.append(name)

    def _text(self) -> None:
        self._new_text(self.call(self.text()))

    def _words(self) -> None:
        self._new_list(f"words({self.text()})")

    def _cond(self) -> None:
        then, otherwise = self.call(self.text()), self.one_of([self.call(self.text()), "q"])
        condition = f"is_odd({self.one_of(self.texts)})"
        self._new_text(f"tl.cond({condition}, lambda: {then}, lambda: {otherwise})")

    def _loop(self) -> None:
        step = self.call('f"again {s}"')
        start, other = self.one_of(self.texts), self.one_of(["s", *self.texts])
        self._new_text(f"tl.loop(lambda s: ({step}, is_odd({other})), {start}, max=3)")

    def _map(self) -> None:
        outer = self.one_of(self.texts)
        inner = self.one_of(["x", f'f"{{x}} of {{{outer}}}"'])
        expression = self.call(inner)
        if self.draw(st.booleans()):
            expression = self.call(expression, PURE_CALLS)
        on_error = self.one_of(["", "", ", on_error='skip'", ", on_error='keep'"])
        self._new_list(f"tl.map(lambda x: {expression}, {self.one_of(self.lists)}{on_error})")

    def _attempt(self) -> None:
        tried = self.call(self.text())
        if self.draw(st.booleans()):
            tried = self.call(tried)
        otherwise = self.one_of(["q", 'lambda e: f"not {e}"', f"lambda: {self.call(self.text())}"])
        self._new_text(f"tl.attempt(lambda: {tried}, {otherwise})")

    def _join(self) -> None:
        self._new_text(f"tl.join({self.one_of(self.lists)}, '{{i}}: {{text}}', sep='; ')")

    def _flatten(self) -> None:
        lists = f"[{self.one_of(self.lists)}, {self.one_of(self.lists)}]"
        self._new_list(f"tl.flatten({lists}, unique={self.draw(st.booleans())})")

    def _sorted(self) -> None:
        self._new_list(f"tl.sorted({self.one_of(self.lists)}, reverse={self.draw(st.booleans())})")

    def _filter(self) -> None:
        self._new_list(f"tl.filter(is_odd, {self.one_of(self.lists)})")

    def _slice(self) -> None:
        part = self.one_of(["[:2]", "[1:]", "[-1:]", "[::2]"])
        self._new_list(f"{self.one_of(self.lists)}{part}")

    def _item(self) -> None:
        self._new_text(f"{self.one_of(self.lists)}[{self.one_of(['0', '1'])}]")

    def _value(self) -> None:
        name = self.one_of([*self.texts, *self.lists])
        self.lines.append(f"{name} = await tl.value({name})")
        self.real.add(name)
