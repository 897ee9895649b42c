"""What a client should know of an answer that is none the worse for it: `X-Teola-Warning`."""

from starlette.types import Scope

_KEY = "teola.warning"


def warn(scope: Scope, message: str) -> None:
    """Say this with the answer's headers, which are yet to be written."""
    scope[_KEY] = f"{scope[_KEY]}; {message}" if _KEY in scope else message


def warning_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What was said."""
    said = scope.get(_KEY)
    return [] if said is None else [(b"x-teola-warning", said.encode("ascii", "replace"))]
