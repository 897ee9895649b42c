"""Apps served as MCP tools, seen by the SDK's own client and by ours."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import mcp
import pytest
from mcp.types import CallToolResult, TextContent

import teola as tl
from teola.errors import ConfigError, McpError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OUR_SERVER = [sys.executable, str(HERE / "mcp_apps.py")]


def client(http_url: str | None = None) -> mcp.Client:
    """The SDK's."""
    if http_url is not None:
        return mcp.Client(http_url)
    command, *args = OUR_SERVER
    env = {"PYTHONPATH": str(ROOT)}
    return mcp.Client(mcp.StdioServerParameters(command=command, args=args, env=env))


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def test_over_stdio_the_sdks_client_sees_and_runs_the_apps() -> None:
    async def main() -> None:
        async with client() as server:
            ask, city, *_ = (await server.list_tools()).tools
            assert (ask.name, ask.description) == ("ask", "Answer a question in a word.")
            assert ask.input_schema["required"] == ["question"]
            assert ask.input_schema["properties"]["n"]["default"] == 3
            about = ask.input_schema["properties"]["question"]["description"]
            assert about == "What to answer, in English."
            assert ask.output_schema is None
            assert city.output_schema is not None
            result = await server.call_tool("ask", {"question": "Capital of France?"})
            assert text_of(result) == "Paris."
            result = await server.call_tool("city", {"name": "Rome"})  # it prints, too
            assert result.structured_content == {"name": "Rome", "people": 4}

    asyncio.run(main())


def test_an_agent_is_a_tool_that_takes_a_task(http_url: str) -> None:
    async def main() -> None:
        async with client(http_url) as server:
            clerk = (await server.list_tools()).tools[-1]
            assert (clerk.name, clerk.description) == ("clerk", "Knows capitals.")
            assert clerk.input_schema["required"] == ["task"]
            result = await server.call_tool("clerk", {"task": "Capital of France?"})
            assert text_of(result) == "Paris."

    asyncio.run(main())


def test_a_result_that_is_no_object_is_wrapped_and_unwrapped(http_url: str) -> None:
    async def main() -> None:
        async with client(http_url) as server:
            result = await server.call_tool("mood", {"text": "rain"})
            assert (text_of(result), result.structured_content) == ("sad", {"result": "sad"})

    asyncio.run(main())
    with tl.mcp.tools(http_url, include=["mood"]) as tools:
        assert asyncio.run(tools["mood"].call({"text": "sun"})) == "glad"


def test_over_http_the_sdks_client_runs_the_apps(http_url: str) -> None:
    async def main() -> None:
        async with client(http_url) as server:
            result = await server.call_tool("ask", {"question": "Capital of France?"})
            assert text_of(result) == "Paris."

    asyncio.run(main())


def test_mistakes_come_back_as_results_that_a_model_can_read(http_url: str) -> None:
    async def main() -> None:
        async with client(http_url) as server:
            wrong = await server.call_tool("ask", {"n": 1})
            assert wrong.is_error
            assert text_of(wrong) == "ask() needs argument 'question' (str)"
            wrong = await server.call_tool("broken", {"n": 0})
            assert "greater than or equal to 1" in text_of(wrong)
            failed = await server.call_tool("broken", {})
            assert failed.is_error
            assert text_of(failed) == "KeyError: 'lost'"
            with pytest.raises(mcp.MCPError, match="no tool 'nope'; there are ask, city"):
                await server.call_tool("nope", {})

    asyncio.run(main())


@pytest.mark.parametrize("over", ["stdio", "http"])
def test_progress_tells_of_primitives_and_of_the_text(over: str, http_url: str) -> None:
    told: list[tuple[float, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async def main() -> None:
        async with client(http_url if over == "http" else None) as server:
            arguments = {"question": "slow"}
            result = await server.call_tool("ask", arguments, progress_callback=listen)
            assert text_of(result) == "one two three four"

    asyncio.run(main())
    numbers = [number for number, _ in told]
    assert numbers == sorted(set(numbers))
    messages = [str(message) for _, message in told]
    assert "one two " in messages
    assert any("answer" in message and "done" in message for message in messages)


@pytest.mark.parametrize("over", ["stdio", "http"])
def test_a_client_that_cancels_stops_the_run(over: str, http_url: str, tmp_path: Path) -> None:
    """The run, which takes 100 s, says that it was stopped; the server goes on."""
    path = tmp_path / "note"
    has_begun = asyncio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        has_begun.set()

    async def main() -> None:
        async with client(http_url if over == "http" else None) as server:
            arguments = {"topic": "x", "path": str(path)}
            call = asyncio.create_task(
                server.call_tool("essay", arguments, progress_callback=listen)
            )
            await asyncio.wait_for(has_begun.wait(), 60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            async with asyncio.timeout(60):
                while not path.exists():
                    await asyncio.sleep(0.02)
            assert text_of(await server.call_tool("ask", {"question": "slow"}))

    asyncio.run(main())


def test_our_client_uses_our_server_over_http(
    http_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_TEXT", "Bearer x")
    with tl.mcp.tools(http_url, headers_env={"Authorization": "TOKEN_TEXT"}) as tools:

        @tl.app
        def app(name: str) -> list[Any]:
            return [tools["ask"]("Capital of France?"), tools["city"](name)["people"]]

        assert app("Oslo") == ["Paris.", 4]
        with pytest.raises(McpError, match="KeyError: 'lost'"):
            asyncio.run(tools["broken"].call({}))


def test_the_command_serves_an_app_of_a_file() -> None:
    code = "from teola.cli.main import main; main()"
    command = [sys.executable, "-c", code, "mcp", f"{HERE / 'mcp_apps.py'}:ask"]
    with tl.mcp.tools(command, env=["PYTHONPATH"]) as tools:
        assert [tool.name for tool in tools] == ["ask"]
        assert asyncio.run(tools["ask"].call({"question": "Capital of France?"})) == "Paris."


def test_the_command_refuses_what_it_cannot_serve() -> None:
    code = "from teola.cli.main import main; main()"
    for words, message in (
        (["mcp"], "name an app to serve: teola mcp app.py:name"),
        (["mcp", f"{HERE / 'mcp_apps.py'}:ask", "--http", "here"], "http= is HOST:PORT"),
    ):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode != 0
        assert message in done.stderr


def test_what_is_no_app_is_not_served() -> None:
    with pytest.raises(ConfigError, match="name at least one app"):
        tl.mcp.serve()
    with pytest.raises(ConfigError, match=r"<built-in function len> is no app; write @tl.app"):
        tl.mcp.serve(len)

    @tl.app
    async def twin() -> str:
        return ""

    with pytest.raises(ConfigError, match="two of the apps to serve are called 'twin'"):
        tl.mcp.serve(twin, twin)


def test_importing_teola_loads_no_mcp() -> None:
    code = "import sys, teola; print('mcp' in sys.modules); teola.mcp; print('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.model
def test_a_tools_result_reaches_a_real_model(http_url: str) -> None:
    llm = tl.LLM("local:smollm2-135m")
    with tl.mcp.tools(http_url, include=["ask"]) as tools:

        @tl.prompt(llm, max_tokens=12)
        def repeat(fact: str) -> str:
            return f"The capital of France is {fact} Repeat the name of the capital."

        @tl.app
        def app(question: str) -> str:
            return repeat(tools["ask"](question))

        assert "Paris" in app("Capital of France?")
