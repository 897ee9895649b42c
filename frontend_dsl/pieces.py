"""What is added to a `tl.State`: texts, turns, and places that the model fills."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, Unpack, overload

from frontend_dsl.choosing import Score, checked_choices, checked_score, select_answer
from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError
from frontend_dsl.forms import Form, form_of
from frontend_dsl.messages import Message, Role
from frontend_dsl.sampling import Sampling
from frontend_dsl.template import TString, is_t_string
from frontend_dsl.tracer import current
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame


class Piece:
    """A part of a program's text; `+` puts texts and other pieces before or behind it."""

    misplaced_in_app = (
        "a tl.gen, tl.select or turn is a part of a program and has no value of its own: add it to "
        'a state, `s += tl.gen("x")`, and use `s["x"]`'
    )
    takes_values = True  # a symbolic value may be added to it

    def __add__(self, other: "str | Piece") -> "Line":
        return Line((self, other))

    def __radd__(self, other: "str | Piece") -> "Line":
        return Line((other, self))

    def __format__(self, spec: str) -> NoReturn:
        _refuse_as_text(self)

    def __str__(self) -> NoReturn:
        _refuse_as_text(self)


Content: TypeAlias = "str | TString | Piece"


@dataclass(frozen=True, slots=True)
class Line(Piece):
    """Pieces one behind the other."""

    pieces: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class RoleTurn(Piece):
    """A whole turn of a conversation."""

    role: Role
    pieces: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class Gen(Piece):
    """A text that the model writes, kept under a name."""

    name: str
    form: Form


@dataclass(frozen=True, slots=True)
class Select(Piece):
    """One of some texts, the likeliest, kept under a name."""

    name: str
    choices: Any  # a list of texts, or a value of the app that is one
    score: Score


def gen(
    name: str,
    *,
    out: Any = str,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    **sampling: Unpack[Sampling],
) -> Gen:
    """What the model writes here, inside a program: `s += tl.gen("answer", max_tokens=16)`.

    `s["answer"]` is then its text. With `out`, `s.get("answer", Model)` is the value that the text
    says; `out`, `choices`, `regex` and the sampling are those of `tl.prompt`. Raises TraceError
    outside of an app.
    """
    check_inside(f'tl.gen("{name}")')
    return Gen(_checked_name(name), form_of(out, choices=choices, regex=regex, **sampling))


@overload
def select(name: str, /, choices: Sequence[str], *, score: Score = "mean") -> Select: ...
@overload
def select(
    llm: LLM,
    /,
    prompt: str | Sequence[Message],
    choices: Sequence[str],
    *,
    score: Score = "mean",
) -> str: ...


def select(first: str | LLM, /, *texts: Any, score: Score = "mean", **named: Any) -> Any:
    """The text that the model finds likeliest here: `s += tl.select("kind", ["yes", "no"])`.

    Choices are not written but scored, by the sum of their tokens' log-probabilities, with "mean"
    divided by their number. Outside of a program `tl.select(llm, "Is it?", ["yes", "no"])` gives
    the answer to a prompt. An engine that scores no texts (a chat API) writes one of them instead.
    """
    if isinstance(first, LLM):
        return select_answer(first, *texts, score=score, **named)
    check_inside(f'tl.select("{first}", choices=[...])')
    return _piece(first, *texts, score=score, **named)


def system(*content: Content) -> RoleTurn:
    """A system turn: `s += tl.system("You are brief.")`."""
    return RoleTurn("system", _checked(content, "tl.system()"))


def user(*content: Content) -> RoleTurn:
    """A turn of the user's: `s += tl.user(f"Why? {question}")`."""
    return RoleTurn("user", _checked(content, "tl.user()"))


def assistant(*content: Content) -> RoleTurn:
    """A turn of the model's, written or given: `s += tl.assistant("Score: " + tl.gen("score"))`."""
    return RoleTurn("assistant", _checked(content, "tl.assistant()"))


def flat(content: Content) -> Iterator[Content]:
    """The pieces of a line, and of the lines in it."""
    if isinstance(content, Line):
        for piece in content.pieces:
            yield from flat(piece)
    else:
        yield content


def check_inside(what: str) -> None:
    """Raise TraceError outside of an app."""
    if current() is None:
        problem = (
            f"{what} is a part of a program: write it in a function with @tl.program(llm), as "
            f"`s += {what}`"
        )
        raise TraceError(problem, *user_frame())


def check_content(content: object, what: str) -> None:
    """Raise TraceError for what is no text and no piece."""
    if not isinstance(content, (str, Value, Piece)) and not is_t_string(content):
        problem = f"{what} takes texts, tl.gen, tl.select and turns, not {content!r}"
        raise TraceError(problem, *user_frame())


def _checked(content: tuple[Content, ...], what: str) -> tuple[Content, ...]:
    pieces = tuple(piece for given in content for piece in flat(given))
    for piece in pieces:
        check_content(piece, what)
        if isinstance(piece, RoleTurn):
            problem = f"a turn stands inside {what}; end the one before the other begins"
            raise TraceError(problem, *user_frame())
    return pieces


def _piece(name: object, choices: Any = None, *, score: Any) -> Select:
    return Select(_checked_name(name), checked_choices(choices), checked_score(score))


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        problem = f"{name!r} names no variable: use letters, digits and _, as in 'answer_1'"
        raise TraceError(problem, *user_frame())
    return name


def _refuse_as_text(piece: Piece) -> NoReturn:
    kind = type(piece).__name__.lower()
    problem = (
        f"a tl.{kind} is no text yet and cannot stand in an f-string: add it, as in "
        f'`s += "text " + tl.{kind}(...)`, and use its value, s["name"], behind it'
    )
    raise TraceError(problem, *user_frame())
