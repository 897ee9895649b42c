"""What the routes of apps answer, as types for the OpenAPI document."""

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from teola.app_serving.run import Status
from teola.serving.answer_types.usage import Usage
from teola.serving.api_errors import ErrorFields


class AppCard(TypedDict):
    """An app; `parameters` and `result` are JSON schemas of its arguments and its result."""

    id: str
    object: Literal["app"]
    description: str
    parameters: dict[str, Any]
    result: dict[str, Any]


class AppList(TypedDict):
    """All apps."""

    object: Literal["list"]
    data: list[AppCard]


class AppModel(TypedDict):
    """An app that can chat, as a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["teola"]
    kind: Literal["app"]
    description: str


class AppModelList(TypedDict):
    """All apps that can chat."""

    object: Literal["list"]
    data: list[AppModel]


class AskedQuestion(TypedDict):
    """What a run asks a person, `tl.approve(question, subject)`; `answer` is the JSON schema of
    what it has to be."""

    id: str
    question: str
    subject: Any
    answer: dict[str, Any]
    since: int


class GivenAnswer(TypedDict):
    """What somebody answered to a question, and when; `by` is null where they did not say who."""

    id: str
    question: str
    value: Any
    by: str | None
    at: int


class RunAnswer(TypedDict):
    """A run as it is; `result` is null until it has completed, and `error` unless it failed, or
    its result was too large to be kept. `waits_for` has the questions of one that is waiting,
    `answered` what clients answered before. Engines order it by its `objective`, and by `due`,
    when it is wanted. Runs that an earlier version has kept may be without these three.
    `usage` and `seconds` are of what it did since it began, or last went on."""

    id: str
    object: Literal["run"]
    app: str
    created: int
    objective: NotRequired[Literal["latency", "throughput"] | None]
    due: NotRequired[int | None]
    status: Literal["running"] | Status
    result: Any
    error: ErrorFields | None
    waits_for: list[AskedQuestion]
    answered: NotRequired[list[GivenAnswer]]
    usage: Usage
    seconds: float


class RunningPrimitive(TypedDict):
    """A primitive that runs now, and for how long."""

    node: str
    op: str
    engine: str
    seconds: float


class RunProgress(TypedDict):
    """Primitives done and known so far, pieces of texts that are being written, what runs (the
    first ones, and how many in all), and how many wait at each engine."""

    done: int
    total: int
    failed: int
    text_pieces: int
    running: list[RunningPrimitive]
    num_running: int
    waiting: dict[str, int]


class ListedRun(TypedDict):
    """A run, with what it does now where it has not ended. On the disk may be some that are
    waiting for a person, or were interrupted when their server ended."""

    id: str
    object: Literal["run"]
    app: str
    created: int
    status: Literal["running"] | Status
    waits_for: list[AskedQuestion]
    usage: Usage
    seconds: float
    progress: RunProgress


class RunList(TypedDict):
    """Runs, the newest first. `next` is the `after` of the page behind this one; null where this
    is the last. A page may have fewer runs than its limit before the last."""

    object: Literal["list"]
    data: list[ListedRun]
    next: str | None


class RunEvent(TypedDict):
    """An event of a run, with more fields by its type; `result` and `error` have the run's own."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    type: Literal["run", "text", "node", "query", "result", "error", "waiting"]
