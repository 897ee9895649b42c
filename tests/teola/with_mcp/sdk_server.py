"""A server made with the SDK alone: what our client is tested against."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel

server = MCPServer("sdk")
reads = ToolAnnotations(read_only_hint=True)
calls = 0


class Point(BaseModel):
    x: int
    y: int


@server.tool(annotations=reads)
def count() -> int:
    """How often it was called."""
    global calls
    calls += 1
    return calls


@server.tool()
def greet(name: str, loud: bool = False) -> str:
    """Greet somebody."""
    return f"HELLO {name.upper()}" if loud else f"hello {name}"


@server.tool()
def point(x: int, y: int) -> Point:
    return Point(x=x, y=y)


@server.tool()
def fail(reason: str) -> str:
    raise ValueError(reason)


@server.tool()
def die() -> str:
    print("I am dying", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
async def wait(path: str) -> str:
    """Waits until it is cancelled, and then makes a file of that name."""
    try:
        Path(f"{path}.begun").touch()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        Path(path).touch()
        raise
    return "waited"


@server.tool()
def variable(name: str) -> str:
    return os.environ.get(name, "unset")


if __name__ == "__main__":
    server.run()
