"""`teola mcp APP...`: apps as the tools of an MCP server."""

from collections.abc import Sequence

from teola.cli.failures import UsageError, reported
from teola.cli.target import load_app


def serve_mcp(targets: Sequence[str], name: str, http: str | None, debug: bool) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug):
        if not targets:
            raise UsageError("name an app to serve: teola mcp app.py:name")
        apps = [load_app(target) for target in targets]
        from teola.mcp import serve

        serve(*apps, name=name, http=http)
