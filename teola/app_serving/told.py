"""What clients are told of an exception: the text that teola wrote, of any other the type alone.

Libraries put keys, addresses and paths into the texts of their exceptions; those are for the log.
"""

from backends.errors import McpError
from frontend_dsl.errors import TraceError
from runtime.errors import ListenerFailed, NodeFailed, ParseError, TookTooLong
from teola import errors


class NoJSON(ValueError):
    """A result that cannot be written as JSON."""


_OWN = (*errors.ALL, ParseError, TookTooLong, NoJSON)
_QUOTING = (TraceError, ListenerFailed, McpError)  # the app's source, a listener, an MCP server


def is_telling(error: BaseException) -> bool:
    """Whether all of its text is teola's."""
    if isinstance(error, NodeFailed):
        return is_telling(error.cause)
    return isinstance(error, _OWN) and not isinstance(error, _QUOTING)


def told(error: BaseException, *, with_text: bool) -> str:
    """`with_text`: of each exception."""
    if is_telling(error) or (with_text and isinstance(error, errors.ALL)):
        return str(error)
    if with_text:
        return f"{type(error).__name__}: {error}"
    if isinstance(error, NodeFailed):
        return f"%{error.node} failed: {told(error.cause, with_text=False)}"
    return type(error).__name__
