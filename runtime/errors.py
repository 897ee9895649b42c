"""What a query ends with when it does not end with a value.

QueryError
├── QueryCancelled
├── QueryTimeout
├── ListenerFailed     what listens to its events (a trace file, say) raised
├── RunError           a run that is stored cannot begin or go on
│   ├── RunNotFound    no run of this id, or nothing says how it was called
│   ├── RunInUse       another process, or another call, is running it
│   ├── RunStoreFailed its folder cannot be read or written, or is another version's
│   ├── EffectInDoubt  it ended while an effect ran: nobody knows whether that happened
│   ├── WrongAnswer    an answer is not what the run asks for
│   └── RunDiverged    it asks for another effect than it did before at this place
└── NodeFailed         one primitive failed; names it, the user's line, and the cause
    ├── OutputInvalid  the model's text is not a value of the declared type
    └── ToolTimeout    a tool took longer than its timeout_s
"""

from dataclasses import dataclass

from backends.errors import EngineError

HOW_TO_BOUND = (
    "raise max_tokens, or bound the type: Field(max_length=...) for texts and lists, ge= and le= "
    "for numbers"
)


class ParseError(ValueError):
    """A decoded `text` that is not a value of its declared type; `reason` leaves it out."""

    def __init__(self, problem: str, reason: str | None = None, text: str = "") -> None:
        super().__init__(problem)
        self.reason = reason or problem
        self.text = text


class TookTooLong(TimeoutError):
    """A try of a tool took longer than its timeout_s."""


class QueryError(RuntimeError):
    """A query did not finish."""


class QueryCancelled(QueryError):
    """The caller cancelled the query; its requests were stopped and its KV freed."""


class QueryTimeout(QueryError):
    """The query ran longer than its timeout_s; its requests were stopped and its KV freed."""


class ListenerFailed(QueryError):
    """What listens to the query's events raised, for example a trace file on a full disk."""


class ForkedProcess(QueryError):
    """An app ran in the process that this one was forked from: the threads that would go on are
    not here."""


class RunError(QueryError):
    """A run that is stored cannot begin or go on."""


class RunNotFound(RunError):
    """There is no run of this id, or what is kept of it does not say how to go on."""


class RunInUse(RunError):
    """The run is running, in another process or in this one."""


class RunStoreFailed(RunError):
    """The folder of the runs cannot be read or written, or was written by another version."""


class EffectInDoubt(RunError):
    """A run ended while an effect was under way: whether that happened is for a person to say.
    `what` names the effect."""

    def __init__(self, problem: str, what: str = "") -> None:
        super().__init__(problem)
        self.what = what


class WrongAnswer(RunError):
    """An answer is not of the kind that a run waits for."""


class RunDiverged(RunError):
    """A run that goes on asks for another effect than the one that it had at this place."""


class NodeFailed(QueryError):
    """A primitive failed: `node` is its path in the graph, `cause` what the engine said."""

    def __init__(self, node: str, where: str, cause: Exception) -> None:
        place = f" ({where})" if where else ""
        super().__init__(f"%{node}{place} failed: {_what(cause)}")
        self.node = node
        self.where = where
        self.cause = cause


class OutputInvalid(NodeFailed):
    """The text of a decode is not a value of the type that the prompt function declared."""


class ToolTimeout(NodeFailed):
    """A tool took longer than its `timeout_s`, in each of its tries.

    An `async def` tool was cancelled; the thread of a plain one runs on, and its result is dropped.
    """


def _what(cause: Exception) -> str:
    """The message; for an error that is not written for people, its type too."""
    is_plain = isinstance(cause, (EngineError, ParseError, TookTooLong))
    return str(cause) if is_plain else f"{type(cause).__name__}: {cause}"


def own_error(failure: Exception) -> Exception:
    """What an `async def` app sees of a failure: the exception that a tool or an engine raised,
    with a note of where; of invalid output, of a timeout, and of what is no node's, the failure
    itself."""
    if not isinstance(failure, NodeFailed) or isinstance(failure, OutputInvalid | ToolTimeout):
        return failure
    error = failure.cause
    if isinstance(error, StopIteration):  # no coroutine can raise it
        return failure
    place = f" ({failure.where})" if failure.where else ""
    note = f"raised by %{failure.node}{place}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    error.__teola__ = failure  # type: ignore[attr-defined]
    return error


@dataclass(frozen=True, slots=True)
class FailedInput:
    """Stands for a value that an earlier segment failed to give: what reads it fails as it did."""

    error: Exception


def renewed(failure: QueryError) -> QueryError:
    """The same failure of another primitive that is lost by it: who was told of the first was not
    told of this."""
    if not isinstance(failure, NodeFailed):
        return failure
    again = type(failure)(failure.node, failure.where, failure.cause)
    again.__cause__ = failure.__cause__
    return again


def failure_of(error: BaseException) -> NodeFailed | None:
    """The NodeFailed behind an exception that an app was told: its primitive, file and line."""
    if isinstance(error, NodeFailed):
        return error
    found = getattr(error, "__teola__", None)
    return found if isinstance(found, NodeFailed) else None
