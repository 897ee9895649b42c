"""A tool of an MCP server: for agents, and as a `call` in any app."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from inspect import Parameter, Signature
from typing import Any

from frontend_dsl.tools import Tool

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


class McpTool:
    """Call it in an app with the arguments of its schema: by name, or the required ones in order.

    Of one that only reads, as its server says, `reads` is true. Outside of an app a call gives a
    coroutine, as that of an async function.
    """

    needs_approval = False

    def __init__(
        self,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        call: Call,
        *,
        result: Mapping[str, Any] | None = None,
        reads: bool = False,
        server: str = "",
        remote_name: str = "",
    ) -> None:
        """`parameters` and `result` are JSON schemas; without the latter a result is text.

        `remote_name` is what the server calls it, if that is another name.
        """
        self.name = self.__name__ = name
        self._remote_name = remote_name or name
        self.description = description
        self.parameters = dict(parameters)
        self.pure = self.reads = reads
        self.server = server
        self._call = call
        self._tool: Tool[..., Any] = self._as_tool(result)

    async def call(self, arguments: dict[str, Any]) -> Any:
        """What the tool gives. Raises errors.McpError if it, or its server, says no."""
        return await self._call(self._remote_name, arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._tool(*args, **kwargs)

    def __repr__(self) -> str:
        return f"McpTool({self.name!r} of {self.server})"

    def _as_tool(self, result: Mapping[str, Any] | None) -> Tool[..., Any]:
        signature = signature_of(self.parameters)

        async def run(*args: Any, **kwargs: Any) -> Any:
            return await self.call(dict(signature.bind(*args, **kwargs).arguments))

        run.__name__ = run.__qualname__ = self.name
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {"return": str if result is None else type_of_schema(result)}
        return Tool(run, reads=self.reads, name=self.name)


def signature_of(schema: Mapping[str, Any]) -> Signature:
    """How a tool with this schema is called: required arguments first, each also by its name."""
    names = list(schema.get("properties", ()))
    if not all(name.isidentifier() for name in names):
        return Signature([Parameter("arguments", Parameter.VAR_KEYWORD)])
    return Signature(list(_parameters(names, set(schema.get("required", ())))))


def type_of_schema(schema: Mapping[str, Any]) -> Any:
    """The Python type of values that a JSON schema allows, as far as its `type` says."""
    given = schema.get("type")
    return _TYPES.get(given, Any) if isinstance(given, str) else Any


def _parameters(names: list[str], required: set[str]) -> Iterator[Parameter]:
    kind = Parameter.POSITIONAL_OR_KEYWORD
    yield from (Parameter(name, kind) for name in names if name in required)
    yield from (Parameter(name, kind, default=None) for name in names if name not in required)
