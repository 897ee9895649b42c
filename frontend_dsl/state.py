"""The state of a program: a text that grows by what the program says and the model writes.

What is said waits until the model has to write behind it, so that it is read in one piece. Forks
begin with one context: what they share is prefilled once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast, overload

from frontend_dsl.ask import check_count, check_llm
from frontend_dsl.choosing import choose
from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError
from frontend_dsl.messages import Message, Role
from frontend_dsl.pieces import Content, Gen, RoleTurn, Select, check_content, flat
from frontend_dsl.state_text import messages_of, parts_of_log, text_of
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Value
from frontend_dsl.variables import Variable, gathered
from frontend_dsl.where import user_frame
from frontend_dsl.writing import Written, prefill, write
from graph_opt.graph import Marker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Point:
    """A state at one point of its program."""

    log: tuple[Any, ...] = ()  # markers of turns, texts, and values that were written
    num_read: int = 0  # of the log, that the context holds
    context: Value | None = None
    variables: Mapping[str, Variable] = field(default_factory=dict)


class State:
    """What a program has said so far: `s += "text"`, `s += tl.user("...")`, `s += tl.gen("x")`.

    A program gets one as its first argument; `tl.State(llm)` makes one inside any app. A text or a
    `tl.gen` outside of a turn goes on in the turn before it; a `tl.gen` behind a turn of the user's
    begins the model's. Raises TraceError outside of an app.
    """

    def __init__(self, llm: LLM, *, _constants: tuple[str, ...] = ()) -> None:
        check_llm("tl.State", llm)
        self._llm = llm
        self._home = tracing("tl.State").home
        self._constants = _constants  # of the program's code: its own words, see template.py
        self._point = Point()
        self._branch = ""  # of a fork: "[1]", or "[1][0]" of a fork of it
        self._base = 0  # of a fork: how much of the log was there before it
        self._forks: list[State] = []
        self._is_joined = False
        self._block: Role | None = None  # the turn that a `with` block holds open

    def __repr__(self) -> str:
        return f"State({self._llm!r}, variables {list(self._point.variables)})"

    def __iadd__(self, content: Content) -> "State":
        tracer = self._check("s += ...")
        check_content(content, "s +=")
        for piece in flat(content):
            self._add(tracer, piece)
        return self

    def __getitem__(self, name: str) -> str:
        """The text of a variable, which is known when the app runs; a list of them behind a join.

        Raises TraceError for a name that nothing before has.
        """
        return cast(str, self._variable(name).text)

    @overload
    def get(self, name: str) -> Any: ...
    @overload
    def get(self, name: str, type_: type[T]) -> T: ...
    def get(self, name: str, type_: Any = None) -> Any:
        """The value of a variable: of the type that `tl.gen(out=)` said, or read from its text as
        JSON of the type given here, as `s.get("score", int)`."""
        return self._variable(name).value_as(type_)

    def scores(self, name: str) -> list[float]:
        """The scores of the choices of a `tl.select`, in their order."""
        found = self._variable(name).scores
        if found is None:
            problem = f's.scores("{name}"): only a tl.select has scores, of each choice one'
            raise TraceError(problem, *user_frame())
        return cast(list[float], found)

    def user(self) -> AbstractContextManager[None]:
        """A turn of the user's: `with s.user(): s += "..."`."""
        return self._turn("user")

    def system(self) -> AbstractContextManager[None]:
        """A system turn: `with s.system(): s += "..."`."""
        return self._turn("system")

    def assistant(self) -> AbstractContextManager[None]:
        """A turn of the model's: `with s.assistant(): s += tl.gen("answer")`."""
        return self._turn("assistant")

    def fork(self, n: int = 1) -> "list[State]":
        """So many states that begin as this one; what was said so far is read once for all.

        Made in the function of a tl.map, they belong to that function.
        """
        check_count("s.fork()", "n", n, 1)
        tracer = self._check("s.fork()", inner=True)
        if n > 1 and tracer.home is self._home:
            self._read(tracer)
        forks = [self._copy(tracer, f"{self._branch}[{i}]") for i in range(n)]
        self._forks += forks
        return forks

    def join(self, forks: "Sequence[State]", mode: Literal["gather", "concat"] = "gather") -> None:
        """End forks of this state: `s["x"]` is then the list of their texts of that name.

        With "concat" what was said and written in them follows here, one after the other.
        """
        self._check("s.join()")
        if mode not in ("gather", "concat"):
            problem = f"s.join() has the modes 'gather' and 'concat', not {mode!r}"
            raise TraceError(problem, *user_frame())
        for fork in forks:
            self._check_fork(fork)
        known = self._point.variables
        new = gathered([fork._point.variables for fork in forks], known)
        for fork in forks:
            fork._is_joined = True
        logs = [fork._point.log[fork._base :] for fork in forks] if mode == "concat" else []
        log = (*self._point.log, *(item for own in logs for item in own))
        self._point = replace(self._point, log=log, variables={**known, **new})

    def text(self) -> str:
        """All texts so far, of turns as `role: text` lines."""
        return text_of(self._point.log)

    @property
    def messages(self) -> list[Message]:
        """The turns so far."""
        return messages_of(self._point.log)

    @property
    def variables(self) -> dict[str, Any]:
        """The values of all variables by their names."""
        return {name: self._point.variables[name].value for name in self._point.variables}

    # what is said and written

    def _add(self, tracer: Tracer, piece: Content) -> None:
        if isinstance(piece, RoleTurn):
            with self._turn(piece.role):
                for inner in piece.pieces:
                    self._add(tracer, inner)
        elif isinstance(piece, Gen):
            self._gen(tracer, piece)
        elif isinstance(piece, Select):
            self._select(tracer, piece)
        elif isinstance(piece, Value) or piece != "":
            self._say(piece)

    def _say(self, *items: Any) -> None:
        self._point = replace(self._point, log=(*self._point.log, *items))

    def _gen(self, tracer: Tracer, piece: Gen) -> None:
        self._begin(piece.name)
        with tracer.call(piece.name), tracer.writing(piece.name + self._branch):
            args = (self._point.context, self._unread(tracer), piece.form)
            written = write(tracer, piece.name, self._llm, *args)
        variable = Variable(piece.name, written.text, written.result, piece.form.out)
        self._wrote(tracer, written, variable)

    def _select(self, tracer: Tracer, piece: Select) -> None:
        self._begin(piece.name)
        with tracer.call(piece.name), tracer.writing(piece.name + self._branch):
            args = (self._point.context, self._unread(tracer), piece.choices, piece.score)
            written, scores = choose(tracer, piece.name, self._llm, *args)
        variable = Variable(piece.name, written.text, written.text, str, scores)
        self._wrote(tracer, written, variable)

    def _begin(self, name: str) -> None:
        """Before the model writes a variable."""
        if name in self._point.variables:
            problem = f's["{name}"] is there already: give each tl.gen and tl.select its own name'
            raise TraceError(problem, *user_frame())
        if self._block is None and self._role in ("user", "system"):
            self._say(Marker("assistant"))
        if not self._point.log:
            problem = f'there is nothing before "{name}" that the model could go on from'
            raise TraceError(problem, *user_frame())

    def _wrote(self, tracer: Tracer, written: Written, variable: Variable) -> None:
        tracer.hold(written.context)
        log = (*self._point.log, written.text)
        variables = {**self._point.variables, variable.name: variable}
        self._point = Point(log, len(log), written.context, variables)

    def _read(self, tracer: Tracer) -> None:
        """Let the model read what was said, once for all forks."""
        with tracer.call("fork"):
            parts = self._unread(tracer)
            if not parts:
                return
            context = prefill(tracer, "fork", self._llm, self._point.context, parts)
        tracer.hold(context)
        self._point = replace(self._point, num_read=len(self._point.log), context=context)

    def _unread(self, tracer: Tracer) -> list[Any]:
        new = self._point.log[self._point.num_read :]
        return parts_of_log(new, self._constants, tracer.given)

    @contextmanager
    def _turn(self, role: Role) -> Iterator[None]:
        self._check(f"s.{role}()")
        if self._block is not None:
            problem = f"a {role} turn begins inside a {self._block} turn; end that first"
            raise TraceError(problem, *user_frame())
        self._say(Marker(role))
        self._block = role
        try:
            yield
        finally:
            self._block = None

    @property
    def _role(self) -> str | None:
        """Of the turn that is open."""
        turns = [item.word for item in self._point.log if isinstance(item, Marker)]
        return turns[-1] if turns else None

    def _copy(self, tracer: Tracer, branch: str) -> "State":
        copy = State.__new__(State)
        copy._llm, copy._home, copy._constants = self._llm, tracer.home, self._constants
        copy._point, copy._branch, copy._base = self._point, branch, len(self._point.log)
        copy._forks, copy._is_joined, copy._block = [], False, None
        return copy

    # checks

    def _variable(self, name: str) -> Variable:
        found = self._point.variables.get(name)
        if found is None:
            raise TraceError(self._unknown(name), *user_frame())
        return found

    def _unknown(self, name: str) -> str:
        if any(name in fork._point.variables for fork in self._forks):
            return (
                f's["{name}"] is a variable of forks: read it from one of them, as '
                f'forks[0]["{name}"], or s.join(forks) first'
            )
        known = ", ".join(map(repr, self._point.variables)) or "none"
        return (
            f's["{name}"] is not there: nothing before has that name (there are: {known}); add '
            f'tl.gen("{name}") or tl.select("{name}", choices=[...]) first'
        )

    def _check_fork(self, fork: object) -> None:
        if not isinstance(fork, State) or not any(fork is own for own in self._forks):
            problem = (
                f"s.join() takes the states that s.fork() of the same state gave, not {fork!r}"
            )
            raise TraceError(problem, *user_frame())
        fork._check("s.join()")

    def _check(self, what: str, *, inner: bool = False) -> Tracer:
        """The tracer, which must be that of the app or body that made the state, or `inner`, of a
        body in it."""
        tracer = tracing(what)
        if self._is_joined:
            problem = (
                f"{what} comes after s.join(), which ended this fork: go on with the state that it "
                "was joined to, or fork that again"
            )
            raise TraceError(problem, *user_frame())
        homes = [around.home for around in tracer.around()] if inner else [tracer.home]
        if not any(home is self._home for home in homes):
            problem = (
                f"{what} goes on with a state of another app, of another run, or from outside of "
                "this tl.map, tl.cond or tl.loop: make `[f] = s.fork()` here"
            )
            raise TraceError(problem, *user_frame())
        return tracer
