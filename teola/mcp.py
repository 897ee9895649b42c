"""`tl.mcp`: tools of MCP servers for agents and apps, and apps as tools of an MCP server."""

import asyncio
import atexit
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from backends.errors import ConfigError
from backends.mcp_client.address import ServerAddress, address_of
from backends.optional import optional_imports
from frontend_dsl.mcp_tool import McpTool
from teola.background import BackgroundLoop

if TYPE_CHECKING:
    from mcp.types import Tool as ServerTool

    from backends.mcp_client.connection import ServerConnection

_loop = BackgroundLoop("teola-mcp")  # of all connections, which must stay on one

DEFAULT_TIMEOUT_S = 60.0

__all__ = ["McpTool", "McpTools", "serve", "tools"]


class McpTools(Sequence[McpTool]):
    """The tools of one server, over a connection that they share.

    It stays open until `close`, the end of a `with` block, or the end of the process; a server
    that ended is started again by the next call.
    """

    def __init__(self, address: ServerAddress, connection: "ServerConnection") -> None:
        self.address = address
        self._connection = connection
        self._tools: tuple[McpTool, ...] = ()
        atexit.register(self.close)

    @overload
    def __getitem__(self, index: int | str) -> McpTool: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[McpTool]: ...
    def __getitem__(self, index: int | str | slice) -> McpTool | Sequence[McpTool]:
        """By place, or by name: `files["read_file"]`."""
        if not isinstance(index, str):
            return self._tools[index]
        for tool in self._tools:
            if tool.name == index:
                return tool
        raise KeyError(_no_tool(self.address, index, self._tools))

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"McpTools({', '.join(tool.name for tool in self._tools)} of {self.address.name})"

    def __enter__(self) -> "McpTools":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and a server that was started for it; safe to call twice."""
        atexit.unregister(self.close)
        _loop.wait(self._connection.close())


def tools(
    server: str | Sequence[str],
    *,
    include: Sequence[str] | None = None,
    prefix: str = "",
    env: Sequence[str] = (),
    headers_env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    connect_timeout_s: float = 30.0,
) -> McpTools:
    """The tools of an MCP server: a command to start (stdio), or the URL of one (streamable HTTP).

    `tl.mcp.tools("uvx mcp-server-time")`, `tl.mcp.tools(["npx", "server", folder])`,
    `tl.mcp.tools("https://host/mcp", headers_env={"Authorization": "MCP_AUTHORIZATION"})`.

    `include` names the tools to take. `prefix` stands before the names of all, so that those of two
    servers are told apart. Secrets stay in the environment: `env` names the variables
    that a command gets from it, `headers_env` the variable that holds each header's text. A call
    that takes longer than `timeout_s` fails. Raises errors.McpUnavailable for a server that cannot
    be started or reached.
    """
    with optional_imports("mcp"):
        from backends.mcp_client.connection import ServerConnection
    address = address_of(server, env, headers_env, cwd)
    address.headers(), address.environment()  # what is missing is told before anything starts
    connection = ServerConnection(address, connect_timeout_s)
    made = McpTools(address, connection)
    try:
        found = _loop.wait(connection.tools())
        chosen = _included(found, include, address)
        made._tools = tuple(_tool(each, prefix, connection, timeout_s) for each in chosen)
    except BaseException:
        made.close()
        raise
    return made


def _included(
    found: Sequence["ServerTool"], include: Sequence[str] | None, address: ServerAddress
) -> Sequence["ServerTool"]:
    if include is None:
        return found
    by_name = {tool.name: tool for tool in found}
    for name in include:
        if name not in by_name:
            raise ConfigError(_no_tool(address, name, found))
    return [by_name[name] for name in include]


def _no_tool(
    address: ServerAddress, name: str, tools: Sequence["ServerTool"] | Sequence[McpTool]
) -> str:
    has = ", ".join(tool.name for tool in tools) or "none"
    return f"the MCP server {address.name} has no tool {name!r}; it has {has}"


def _tool(
    described: "ServerTool",
    prefix: str,
    connection: "ServerConnection",
    timeout_s: float | None,
) -> McpTool:
    from backends.mcp_client.content import is_wrapped, value_of

    schema = described.output_schema
    result = schema
    if schema is not None and is_wrapped(schema):
        result = schema["properties"]["result"]

    async def call(name: str, arguments: dict[str, Any]) -> Any:
        running = _loop.submit(connection.call(name, arguments, timeout_s))
        return value_of(await _ended(running), schema)

    hints = described.annotations
    return McpTool(
        prefix + described.name,
        described.description or "",
        described.input_schema,
        call,
        result=result,
        reads=hints is not None and bool(hints.read_only_hint),
        server=connection.address.name,
        remote_name=described.name,
    )


async def _ended(running: "Future[Any]") -> Any:
    """The result on the caller's loop; cancelling that cancels the call."""
    return await asyncio.wrap_future(running)


def serve(
    *apps: Callable[..., Any],
    name: str = "teola",
    http: str | None = None,
) -> None:
    """Serve apps and agents as tools of an MCP server, until the client leaves or a signal comes.

    Over stdin and stdout, or with `http="127.0.0.1:8000"` over streamable HTTP at `/mcp`. A tool
    has the app's name, its docstring and the schema of its parameters; while the app runs, a
    client that asks for progress hears of each finished primitive and of the text written so far,
    and one that cancels stops the run.
    """
    with optional_imports("mcp"):
        from teola.serving.mcp_process import serve_http, serve_stdio
        from teola.serving.mcp_server import make_server
    server = make_server(name, apps)
    if http is None:
        serve_stdio(server)
    else:
        serve_http(server, http)
