"""What engines and their set-up raise.

EngineError
├── EngineUnavailable     not started, gone, or its model or package is missing here
│   ├── EngineTimeout     it gave no answer within the `timeout_s` of the engine
│   └── EngineLeftAlone   it failed again and again, and is not asked for a while
├── EngineBroken          it raised what no engine should raise
├── PolicyFailed          the policy that orders what waits at it raised
├── RequestAborted        its caller wants no answer any more
├── EngineOverloaded      no room now; the same request may pass later
├── RequestTooLong        the request can never fit this engine
├── NoReply               a test's script, `tl.fake`, has no reply for a prompt
├── NetworkDenied         a connection inside `tl.deny_network()`
├── AnswerInvalid         a server's answer is not of the form that it was to keep to
│   ├── PlanInvalid       a model's plan names what is not there, or cannot be run in any order
│   └── HandoffInvalid    an agent hands a conversation to one that is not there, or without end
├── McpError              a tool of an MCP server failed, or its server refused the call
│   └── McpUnavailable    the server cannot be started or reached, or it ended
└── RequestRejected       the request is wrong for this engine (op, arguments, content)
    ├── ContentRefused    the model, or a filter around it, does not answer this
    └── DocumentError     a file that cannot be found, read or understood
ConfigError               an unknown scheme, model or option: wrong before anything ran
"""

from backends.base import Usage


class EngineError(RuntimeError):
    """A request failed at an engine."""


class RequestAborted(EngineError):
    """Its caller wants no answer any more. `usage`: what the engine had computed for it."""

    def __init__(self, message: str = "the request was aborted", usage: Usage = Usage()) -> None:  # noqa: B008 - frozen
        super().__init__(message)
        self.usage = usage


class EngineUnavailable(EngineError):
    """The engine cannot run anything: not started, gone, or something it needs is missing."""


class EngineTimeout(EngineUnavailable):
    """The engine gave no answer within its `timeout_s`; the request was aborted."""


class EngineLeftAlone(EngineUnavailable):
    """The engine failed again and again; in `retry_after_s` it is asked again."""

    def __init__(self, message: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineBroken(EngineError):
    """The engine raised what no engine should raise: a mistake in it, or a lack of memory."""


class PolicyFailed(EngineError):
    """The policy that orders what waits at the engine raised; `__cause__` is what. The other
    requests go on, by arrival."""


class EngineOverloaded(EngineError):
    """The engine has no room at the moment; the same request may pass later.

    `retry_after_s` is when, if the engine says so: the scheduler then sends it again by itself.
    """

    def __init__(self, message: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestTooLong(EngineError):
    """The request can never fit: longer than the model's context or than the whole KV pool."""


class RequestRejected(EngineError):
    """The request is wrong for this engine: unknown op, bad argument, impossible content."""


class AnswerInvalid(EngineError):
    """A server's answer breaks the schema, the pattern or the choices that were sent with it."""


class PlanInvalid(AnswerInvalid):
    """A model's plan has a task that cannot run: an unknown tool, a reference to a later task."""


class HandoffInvalid(AnswerInvalid):
    """An agent hands the conversation to one that is not there, or hands on and on."""


class NoReply(EngineError):
    """A test's script (`tl.fake`) has no reply for a prompt."""


class NetworkDenied(EngineError):
    """Something wanted to connect to a host inside `tl.deny_network()`."""


class McpError(EngineError):
    """A tool of an MCP server failed, took too long, or the server refused the call."""


class McpUnavailable(McpError):
    """An MCP server cannot be started or reached, or it ended."""


class ContentRefused(RequestRejected):
    """The model, or a content filter of its provider, refuses to answer this prompt."""


class DocumentError(RequestRejected):
    """A document is missing, unreadable or of an unknown kind."""


class ConfigError(ValueError):
    """A setting is wrong: an unknown scheme, model, option or engine name."""
