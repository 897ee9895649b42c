"""An MCP server whose tools are apps. One run for each call, over the engines of this process."""

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from mcp import MCPError, types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp_types import INVALID_PARAMS

from backends.errors import ConfigError
from frontend_dsl.app import App
from frontend_dsl.program import StreamEvent
from teola import __version__, errors
from teola.app_serving.app_schema import AnyApp
from teola.serving.mcp_schema import result_of, tool_of

Context = ServerRequestContext[Any, Any]
SHOWN_CHARS = 200  # of the text written so far, in a notification

_log = logging.getLogger("teola.mcp")


def make_server(name: str, apps: Sequence[Callable[..., Any]]) -> Server[Any]:
    """Raises ConfigError for what is no app, and for two of one name."""
    by_name = _by_name(apps)
    tools = [tool_of(app) for app in by_name.values()]

    async def list_tools(_: Context, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        app = by_name.get(params.name)
        if app is None:
            has = ", ".join(by_name)
            raise MCPError(INVALID_PARAMS, f"there is no tool {params.name!r}; there are {has}")
        return await _run(app, params.arguments or {}, Progress(context))

    return Server(name, version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def _by_name(apps: Sequence[Callable[..., Any]]) -> dict[str, AnyApp]:
    if not apps:
        raise ConfigError("name at least one app to serve: tl.mcp.serve(app)")
    by_name: dict[str, AnyApp] = {}
    for app in apps:
        if not isinstance(app, App):
            raise ConfigError(f"{app!r} is no app; write @tl.app above the function")
        if app.name in by_name:
            raise ConfigError(f"two of the apps to serve are called {app.name!r}; rename one")
        by_name[app.name] = app
    return by_name


async def _run(
    app: AnyApp, arguments: dict[str, Any], progress: "Progress"
) -> types.CallToolResult:
    """The app's result, or its error as a result that a model can read. A client that cancels, or
    leaves, cancels this, and with it the query."""
    try:
        async with aclosing(app.astream(**arguments)) as events:
            async for event in events:
                await progress.tell(event)
                last = event
        return result_of(app, last.fields["result"])
    except errors.ALL as error:
        return _failed(str(error))
    except Exception as error:  # what a tool of an `async def` app raised: the call's outcome
        _log.exception("app %s() failed", app.name)
        return _failed(f"{type(error).__name__}: {error}")


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


class Progress:
    """Tells the client, if it asked for it, of finished primitives and of the answer's text."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._num_told = 0
        self._num_done = 0
        self._text = ""

    async def tell(self, event: StreamEvent) -> None:
        """One notification for each event of interest; their numbers go up, as MCP wants."""
        if event.kind == "end":
            self._num_done += 1
            await self._report(f"{event.node} done ({self._num_done} primitives)")
        elif event.kind == "text" and event.fields.get("final"):
            self._text += str(event.fields["text"])
            await self._report(self._text[-SHOWN_CHARS:])

    async def _report(self, message: str) -> None:
        self._num_told += 1
        await self._context.session.report_progress(self._num_told, None, message)
