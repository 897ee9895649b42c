"""Whose a request is, where a header says it."""

import re

from starlette.requests import Request

from teola.serving.api_errors import ApiError

_TENANT = re.compile(r"[!-~]{1,128}")


def tenant_of(request: Request, header: str | None) -> str:
    """Empty without a header. Raises ApiError for what is no name."""
    found = "" if header is None else request.headers.get(header, "")
    if found and not _TENANT.fullmatch(found):
        why = f"{header} must be 1 to 128 visible ASCII characters"
        raise ApiError(400, why, code="invalid_tenant")
    return found
