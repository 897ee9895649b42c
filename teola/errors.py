"""Every error teola raises.

    GraphError                an app cannot be a graph, or a pass broke it    (before running)
    └── TraceError            with the file, line and text of the user's code
        ├── DefinitionError   what is decorated cannot be an app; a TypeError too
        ├── SymbolicError     a run-time value used as if it were known
        └── VariableError     a semantic variable that no call fills, or made in a circle
    ConfigError               unknown scheme, model, option or engine name
    ArgumentError             an app called with a missing, unknown or wrong argument
    QueryError                a query did not finish                          (while running)
    ├── QueryCancelled
    ├── QueryTimeout
    ├── ListenerFailed        a listener raised, for example a trace file on a full disk
    ├── ForkedProcess         this process was forked from one that had run apps
    ├── RunError              a stored run cannot begin or go on
    │   ├── RunNotFound
    │   ├── RunInUse          it is running already
    │   ├── RunStoreFailed    its folder cannot be read or written
    │   ├── EffectInDoubt     it ended while an effect ran: run it again, or skip it?
    │   ├── WrongAnswer       an answer is not what it asks for
    │   └── RunDiverged       it asks for another effect than before at this place
    └── NodeFailed            names the primitive and the user's line; `cause` is what failed
        ├── OutputInvalid     decoded text that is not a value of the declared type
        └── ToolTimeout       a tool took longer than its timeout_s
    AgentError                an agent did not come to its answer
    ├── BudgetExceeded        turns, tokens, seconds or calls; `limit` says which
    ├── AnswerNotValid        its answer is no value of its type
    └── ApprovalNeeded        something needs a person's approval, and nobody can be asked
        └── ApprovalPending   a stored run waits for the answer
    EngineError               what a NodeFailed is caused by, when an engine said no
    ├── EngineUnavailable
    │   ├── EngineTimeout     no answer within the timeout_s of the engine
    │   └── EngineLeftAlone   failed again and again, and is not asked for a while
    ├── EngineBroken          it raised what no engine should raise
    ├── EngineOverloaded
    ├── PolicyFailed          the policy that orders what waits at an engine raised
    ├── RequestAborted        its caller wants no answer any more
    ├── RequestTooLong
    ├── NoReply               a test's tl.fake has no reply for a prompt
    ├── NetworkDenied         a connection inside tl.deny_network()
    ├── AnswerInvalid         a server did not keep to the schema or the choices
    │   ├── PlanInvalid       a planner's plan that cannot run
    │   └── HandoffInvalid    an agent hands on to one that is not there, or without end
    ├── McpError              a tool of an MCP server failed
    │   └── McpUnavailable    its server cannot be started or reached, or it ended
    └── RequestRejected
        ├── ContentRefused    the model or its provider's filter will not answer
        └── DocumentError

In an `async def` app `await tl.value(x)` raises what a tool or an engine raised itself;
`failure_of(error)` is the NodeFailed behind it.

`except tl.errors.ALL:` catches them all.
"""

from backends.errors import (
    AnswerInvalid,
    ConfigError,
    ContentRefused,
    DocumentError,
    EngineBroken,
    EngineError,
    EngineLeftAlone,
    EngineOverloaded,
    EngineTimeout,
    EngineUnavailable,
    HandoffInvalid,
    McpError,
    McpUnavailable,
    NetworkDenied,
    NoReply,
    PlanInvalid,
    PolicyFailed,
    RequestAborted,
    RequestRejected,
    RequestTooLong,
)
from frontend_dsl.agents.errors import (
    AgentError,
    AnswerNotValid,
    ApprovalNeeded,
    ApprovalPending,
    BudgetExceeded,
)
from frontend_dsl.errors import DefinitionError, SymbolicError, TraceError, VariableError
from frontend_dsl.signature import ArgumentError
from graph_opt.errors import GraphError
from runtime.errors import (
    EffectInDoubt,
    ForkedProcess,
    ListenerFailed,
    NodeFailed,
    OutputInvalid,
    QueryCancelled,
    QueryError,
    QueryTimeout,
    RunDiverged,
    RunError,
    RunInUse,
    RunNotFound,
    RunStoreFailed,
    ToolTimeout,
    WrongAnswer,
    failure_of,
)

ALL = (GraphError, ConfigError, ArgumentError, QueryError, AgentError, EngineError)

__all__ = [
    "ALL",
    "AgentError",
    "AnswerInvalid",
    "AnswerNotValid",
    "ApprovalNeeded",
    "ApprovalPending",
    "ArgumentError",
    "BudgetExceeded",
    "ConfigError",
    "ContentRefused",
    "DefinitionError",
    "DocumentError",
    "EffectInDoubt",
    "EngineBroken",
    "EngineError",
    "EngineLeftAlone",
    "EngineOverloaded",
    "EngineTimeout",
    "EngineUnavailable",
    "ForkedProcess",
    "GraphError",
    "HandoffInvalid",
    "ListenerFailed",
    "McpError",
    "McpUnavailable",
    "NetworkDenied",
    "NoReply",
    "NodeFailed",
    "OutputInvalid",
    "PlanInvalid",
    "PolicyFailed",
    "QueryCancelled",
    "QueryError",
    "QueryTimeout",
    "RequestAborted",
    "RequestRejected",
    "RequestTooLong",
    "RunDiverged",
    "RunError",
    "RunInUse",
    "RunNotFound",
    "RunStoreFailed",
    "SymbolicError",
    "ToolTimeout",
    "TraceError",
    "VariableError",
    "WrongAnswer",
    "failure_of",
]
