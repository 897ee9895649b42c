"""Why a run did not come to its result, as a client is told.

400 an argument, a prompt that is too long, a document that cannot be read
410 it was cancelled · 429 and 503 its engine is full, or away · 504 it took too long
409 it waits for a person, or an effect is in doubt · 499 its client went away
500 the app failed: a tool, an agent, the model's answer
"""

import logging
from collections.abc import Mapping

from backends.errors import (
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from frontend_dsl.agents.errors import AgentError
from frontend_dsl.signature import ArgumentError
from runtime.errors import EffectInDoubt, NodeFailed, QueryTimeout, RunStoreFailed
from teola import errors
from teola.app_serving.told import is_telling, told
from teola.serving.api_errors import NOT_AGAIN, ApiError, from_engine

CANCELLED = ApiError(410, "the run was cancelled", code="run_cancelled")
CLIENT_GONE = ApiError(499, "the client of the run went away", code="client_gone")
CLOSING = ApiError(
    503, "the server is closing; send the request to another, or again later", code="not_ready"
)
NOT_KEPT = ApiError(
    503, "the server cannot read or write its folder of runs; see its log", code="run_store_failed"
)
_FINAL = (
    "run_cancelled",
    "run_timeout",
    "agent_failed",
    "app_failed",
    "approval_pending",
    "effect_in_doubt",
    "run_store_failed",
)
_OF_ENGINES = (EngineOverloaded, EngineUnavailable, RequestRejected, RequestTooLong)
_ARGUMENTS = "arguments"
_DOUBT = (
    'look whether it happened, then resume the run with `in_doubt` "retry", which runs it again, '
    'or "skip", which goes on with null as its value'
)

_log = logging.getLogger("teola.apps")


def from_app(
    run_id: str,
    app: str,
    error: BaseException,
    *,
    with_text: bool = False,
    has_acted: bool = False,
) -> ApiError:
    """An outcome of an app. What its author did not expect is logged with its stack trace;
    `with_text` its client is told what it says, too; `has_acted`: it has called a tool, or written
    to a store."""
    cause = error.cause if isinstance(error, NodeFailed) else error
    if isinstance(cause, _OF_ENGINES):
        found = from_engine(cause, _ARGUMENTS)
        return ApiError(
            found.status,
            f"{app}: {found.message}",
            code=found.code,
            param=found.param and _ARGUMENTS,
            retry_after_s=found.retry_after_s,
            is_final=has_acted,
        )
    if isinstance(error, ArgumentError):
        return ApiError(400, str(error), code="invalid_value", param=_ARGUMENTS)
    if isinstance(error, QueryTimeout):
        return ApiError(504, str(error), code="run_timeout")
    if isinstance(error, EffectInDoubt):
        return in_state(f"{app}: {error.what}: {_DOUBT}", "effect_in_doubt")
    if isinstance(error, RunStoreFailed):
        _log.error("run %s of %s: %s", run_id, app, error)
        return NOT_KEPT
    if isinstance(error, AgentError):
        return ApiError(500, f"{app}: {error}", code="agent_failed")
    is_expected = isinstance(error, errors.ALL)
    _log.error("run %s of %s failed: %s", run_id, app, error, exc_info=not is_expected and error)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        what = f"{app}: the app tried to end the program (exit code {code})"
        return ApiError(500, what, code="app_failed")
    text = told(error, with_text=with_text)
    more = "" if with_text or is_telling(error) else f"; see run {run_id} in the server's log"
    return ApiError(500, f"{app}: {text}{more}", code="app_failed")


def cut_off(run_id: str, *, is_kept: bool) -> ApiError:
    """A run ended with its server. Sent again it would be another run, and what it has done would
    be done twice."""
    what = (
        "is kept, and goes on when it is resumed"
        if is_kept
        else "was cut off: send it again only if what it has done may be done twice"
    )
    message = f"the server is closing; run {run_id} {what}"
    return ApiError(503, message, code="run_interrupted", is_final=True)


def in_state(message: str, code: str) -> ApiError:
    """The run is in no state for what is asked."""
    return ApiError(409, message, code=code)


def unknown_run(run_id: str) -> ApiError:
    message = f"there is no run {run_id[:100]!r} here, or it ended too long ago"
    return ApiError(404, message, code="run_not_found", param="id")


def retry_headers(error: ApiError) -> Mapping[str, str]:
    """For OpenAI's clients, which would run a failed app again for any 5xx."""
    return NOT_AGAIN if error.is_final or error.code in _FINAL else {}
