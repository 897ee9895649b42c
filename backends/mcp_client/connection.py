"""A connection to one MCP server, opened when it is first needed and kept until it is closed.

A task of its own holds it open, since the SDK wants it closed where it was opened. All methods run
on one event loop. A server that ended is started anew by the next call; the call that it ended
under is not repeated, because nobody knows how far it came.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from typing import IO, Any

import httpx2
import mcp
from mcp import types
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

from backends.errors import ConfigError, McpError, McpUnavailable
from backends.mcp_client.address import ServerAddress
from backends.mcp_client.content import text_of

CLOSE_TIMEOUT_S = 10.0
SHOWN_LINES = 5  # of what a server wrote before it ended


class ServerConnection:
    """See above."""

    def __init__(self, address: ServerAddress, connect_timeout_s: float) -> None:
        self.address = address
        self._connect_timeout_s = connect_timeout_s
        self._opening = asyncio.Lock()
        self._client: mcp.Client | None = None
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._log: IO[str] | None = None

    async def tools(self) -> list[types.Tool]:
        """All tools of the server. Raises McpUnavailable, or McpError for one that says no."""
        client = await self._open()
        found: list[types.Tool] = []
        cursor = None
        try:
            while True:
                page = await client.list_tools(cursor=cursor)
                found += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    return found
        except mcp.MCPError as error:
            raise await self._failure(client, error, "listed its tools", None) from error

    async def call(
        self, name: str, arguments: dict[str, Any], timeout_s: float | None
    ) -> types.CallToolResult:
        """What the tool gives; cancelling it tells the server.

        Raises McpError if the tool or the server says no or takes too long, McpUnavailable if the
        server cannot be reached or ended.
        """
        client = await self._open()
        try:
            result = await client.call_tool(name, arguments, timeout_s)
        except mcp.MCPError as error:
            raise await self._failure(client, error, f"ran {name}", timeout_s) from error
        except (httpx2.HTTPError, OSError, RuntimeError) as error:
            await self._leave(client)
            raise McpUnavailable(f"{self._who} ended while it ran {name}: {error}") from error
        if result.is_error:
            text = text_of(result.content) or "no reason given"
            raise McpError(f"the MCP tool {name!r} of {self.address.name} failed: {text}")
        return result

    async def close(self) -> None:
        """End the connection, and the server if it was started here; safe to call twice."""
        keeper, self._client = self._keeper, None
        self._closing.set()
        if keeper is not None:
            await asyncio.wait((keeper,), timeout=CLOSE_TIMEOUT_S)

    @property
    def _who(self) -> str:
        return f"the MCP server {self.address.name}"

    async def _open(self) -> mcp.Client:
        async with self._opening:
            if self._client is None:
                self._client = await self._connected()
            return self._client

    async def _connected(self) -> mcp.Client:
        opened: asyncio.Future[mcp.Client] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(opened, self._closing))
        try:
            return await asyncio.wait_for(asyncio.shield(opened), self._connect_timeout_s)
        except TimeoutError:
            within = f"did not answer within {self._connect_timeout_s:g} s{self._last_words()}"
            self._keeper.cancel()
            raise McpUnavailable(f"{self._who} {within}") from None

    async def _keep(self, opened: "asyncio.Future[mcp.Client]", closing: asyncio.Event) -> None:
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            self._log = log
            try:
                async with AsyncExitStack() as stack:
                    client = await stack.enter_async_context(await self._new_client(stack))
                    opened.set_result(client)
                    await closing.wait()
            except (Exception, asyncio.CancelledError) as error:
                if not opened.done():  # else the call under way tells it
                    opened.set_exception(self._not_reached(error))
                    opened.exception()  # seen: the opener may have given up

    async def _new_client(self, stack: AsyncExitStack) -> mcp.Client:
        address = self.address
        if address.url:
            timeout = httpx2.Timeout(self._connect_timeout_s, read=None)
            http = httpx2.AsyncClient(headers=address.headers(), timeout=timeout)
            await stack.enter_async_context(http)
            return mcp.Client(streamable_http_client(address.url, http_client=http))
        command, *args = address.command
        parameters = mcp.StdioServerParameters(
            command=command, args=args, env=address.environment(), cwd=address.cwd
        )
        assert self._log is not None, "_keep opens it"
        return mcp.Client(mcp.stdio_client(parameters, errlog=self._log))  # type: ignore[arg-type]

    async def _failure(
        self, client: mcp.Client, error: mcp.MCPError, doing: str, timeout_s: float | None
    ) -> McpError:
        if error.code == CONNECTION_CLOSED:
            ended = f"{self._who} ended while it {doing}{self._last_words()}"
            await self._leave(client)
            return McpUnavailable(ended)
        if error.code == REQUEST_TIMEOUT and timeout_s is not None:
            return McpError(f"{self._who} {doing} for more than {timeout_s:g} s (timeout_s=)")
        return McpError(f"{self._who} refused, while it {doing}: {error.message}")

    async def _leave(self, client: mcp.Client) -> None:
        """Give a dead connection up, so that the next call opens another."""
        if self._client is client:
            await self.close()

    def _not_reached(self, error: BaseException) -> Exception:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ConfigError):
            return error
        if isinstance(error, FileNotFoundError) and self.address.command:
            command = self.address.command[0]
            return McpUnavailable(f"{self._who} cannot be started: there is no {command!r} here")
        reason = str(error) or type(error).__name__
        return McpUnavailable(f"{self._who} cannot be reached: {reason}{self._last_words()}")

    def _last_words(self) -> str:
        """What a server that was started here wrote last."""
        if self.address.url or self._log is None or self._log.closed:
            return ""
        self._log.seek(0)
        lines = [line.rstrip() for line in self._log if line.strip()]
        return "".join(f"\n  {line}" for line in lines[-SHOWN_LINES:])
