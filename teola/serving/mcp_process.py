"""Runs an MCP server: over stdin and stdout, or over HTTP."""

import asyncio
import sys
from typing import Any

import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server

from backends.errors import ConfigError
from teola.serving.listening import SignalServer, listen, url_of


def serve_stdio(server: Server[Any]) -> None:
    """Until stdin closes. What the apps print goes to stderr: stdout is the client's."""

    async def run() -> None:
        async with stdio_server() as (messages, answers):
            await server.run(messages, answers, server.create_initialization_options())

    asyncio.run(run())


def serve_http(server: Server[Any], address: str) -> None:
    """Until SIGTERM or Ctrl-C; the path is `/mcp`. Raises ConfigError for a wrong address."""
    host, port = address_of(address)
    listener = listen(host, port)
    config = uvicorn.Config(
        server.streamable_http_app(host=host),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    print(f"serving MCP on {url_of(listener)}/mcp", file=sys.stderr, flush=True)
    asyncio.run(SignalServer(config).serve(sockets=[listener]))


def address_of(text: str) -> tuple[str, int]:
    """`HOST:PORT`; port 0 is a free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"http= is HOST:PORT, like 127.0.0.1:8000; got {text!r}")
    return host.strip("[]"), int(port)
