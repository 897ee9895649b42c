"""The option that names the header with a request's tenant: `teola serve` and `serve-engine`."""

import re
from typing import Annotated

import typer

from teola.cli.failures import UsageError

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # of a header, by RFC 9110

TenantHeader = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Header that tells whose a request is: X-Tenant."),
]


def check_header(name: str | None) -> None:
    """Raises UsageError for what is no name of a header."""
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"--tenant-header {name!r}: write the name of a header, like X-Tenant")
