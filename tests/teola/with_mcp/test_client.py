"""Tools of a server that was made with the SDK, in a process of its own."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from teola.errors import ConfigError, McpError, McpUnavailable, NodeFailed, TraceError

CALL_OTHER = tl.fake.tool_call("other_greet", name="Ann")
SDK_SERVER = [sys.executable, str(Path(__file__).parent / "sdk_server.py")]


def test_tools_have_what_an_agent_asks_for(sdk_tools: tl.mcp.McpTools) -> None:
    greet = sdk_tools["greet"]
    assert (greet.name, greet.description) == ("greet", "Greet somebody.")
    assert greet.parameters["required"] == ["name"]
    assert greet.parameters["properties"]["loud"]["type"] == "boolean"
    assert (greet.pure, greet.reads, greet.needs_approval) == (False, False, False)
    assert asyncio.run(greet.call({"name": "Ann", "loud": True})) == "HELLO ANN"


def test_the_read_only_hint_makes_a_tool_that_reads(sdk_tools: tl.mcp.McpTools) -> None:
    assert sdk_tools["count"].reads

    @tl.app
    def app() -> tuple[int, str]:
        return sdk_tools["count"](), sdk_tools["greet"]("x")

    reading, writing = (node for node in app.graph().nodes if node.op == "call")
    assert reading.attrs["reads"] is True
    assert "pure" not in writing.attrs
    first, second = app()[0], app()[0]
    assert second == first + 1  # what was read is not remembered


def test_tools_are_calls_in_any_app(sdk_tools: tl.mcp.McpTools) -> None:
    @tl.app
    def app(name: str, x: int = 1) -> dict[str, Any]:
        point = sdk_tools["point"](x, y=2)
        each = tl.map(sdk_tools["greet"], ["a", "b"])
        return {"hello": sdk_tools["greet"](name, loud=True), "y": point["y"], "each": each}

    expected = {"hello": "HELLO ANN", "y": 2, "each": ["hello a", "hello b"]}
    assert app("ann") == expected
    assert app.using(optimize=False)("ann") == expected


def test_an_async_app_awaits_what_a_tool_gives(sdk_tools: tl.mcp.McpTools) -> None:
    @tl.app
    async def app(x: int) -> int:
        point: dict[str, int] = await tl.value(sdk_tools["point"](x, 5))
        return point["x"] + point["y"]

    assert app(2) == 7


def test_a_call_with_wrong_arguments_names_the_tools_form(sdk_tools: tl.mcp.McpTools) -> None:
    @tl.app
    def app() -> str:
        return str(sdk_tools["greet"](nam="x"))

    with pytest.raises(TraceError, match=r"the tool greet\(name, loud=None\) cannot be called so"):
        app.graph()


def test_a_tools_failure_is_a_typed_error(sdk_tools: tl.mcp.McpTools) -> None:
    with pytest.raises(McpError, match=r"the MCP tool 'fail' of .*sdk_server.py failed: .*fail"):
        asyncio.run(sdk_tools["fail"].call({"reason": "no"}))

    @tl.app
    def app() -> str:
        return str(sdk_tools["fail"]("no"))

    with pytest.raises(NodeFailed, match="'fail'") as caught:
        app()
    assert isinstance(caught.value.cause, McpError)


def test_wrong_arguments_come_back_as_the_servers_words(sdk_tools: tl.mcp.McpTools) -> None:
    with pytest.raises(McpError, match=r"(?s)'greet'.*Field required"):
        asyncio.run(sdk_tools["greet"].call({"nam": "x"}))


def test_a_server_that_ended_is_told_and_started_again() -> None:
    with tl.mcp.tools(SDK_SERVER, include=["die", "greet"]) as tools:
        assert [tool.name for tool in tools] == ["die", "greet"]
        with pytest.raises(McpUnavailable, match=r"(?s)ended while it ran die.*I am dying"):
            asyncio.run(tools["die"].call({}))
        assert asyncio.run(tools["greet"].call({"name": "you"})) == "hello you"


def test_a_call_that_takes_too_long_fails_and_another_goes_on(tmp_path: Path) -> None:
    with tl.mcp.tools(SDK_SERVER, timeout_s=3) as tools:
        with pytest.raises(McpError, match=r"ran wait for more than 3 s \(timeout_s=\)"):
            asyncio.run(tools["wait"].call({"path": str(tmp_path / "end")}))
        assert asyncio.run(tools["greet"].call({"name": "you"})) == "hello you"


def test_a_cancelled_call_is_cancelled_at_the_server(
    sdk_tools: tl.mcp.McpTools, tmp_path: Path
) -> None:
    end, begun = tmp_path / "end", tmp_path / "end.begun"

    async def main() -> None:
        call = asyncio.create_task(sdk_tools["wait"].call({"path": str(end)}))
        async with asyncio.timeout(60):
            while not begun.exists():
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(60):
            while not end.exists():
                await asyncio.sleep(0.02)

    asyncio.run(main())


def test_calls_of_several_threads_and_loops_share_the_connection(
    sdk_tools: tl.mcp.McpTools,
) -> None:
    async def several() -> list[str]:
        calls = (sdk_tools["greet"].call({"name": str(i)}) for i in range(5))
        return await asyncio.gather(*calls)

    async def main() -> list[list[str]]:
        runs = (asyncio.to_thread(asyncio.run, several()) for _ in range(3))
        return await asyncio.gather(*runs)

    assert asyncio.run(main()) == [[f"hello {i}" for i in range(5)]] * 3


def test_only_the_variables_that_were_named_reach_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOWN", "yes")
    monkeypatch.setenv("HIDDEN", "no")
    with tl.mcp.tools(SDK_SERVER, env=["SHOWN"], include=["variable"]) as tools:
        call = tools["variable"].call
        assert asyncio.run(call({"name": "SHOWN"})) == "yes"
        assert asyncio.run(call({"name": "HIDDEN"})) == "unset"


def test_a_closed_connection_leaves_no_process() -> None:
    psutil = pytest.importorskip("psutil")
    before = set(psutil.Process().children())
    tools = tl.mcp.tools(SDK_SERVER)
    (child,) = set(psutil.Process().children()) - before
    tools.close()
    tools.close()
    assert not child.is_running()


@pytest.mark.parametrize(
    ("server", "options", "message"),
    [
        ("no-such-command-here x", {}, "there is no 'no-such-command-here' here"),
        ([sys.executable, "-c", "raise SystemExit('wrong key')"], {}, "(?s)reached.*wrong key"),
        ("http://127.0.0.1:9/mcp", {}, "http://127.0.0.1:9/mcp cannot be reached"),
        (
            [sys.executable, "-c", "import time; time.sleep(60)"],
            {"connect_timeout_s": 0.5},
            "did not answer within 0.5 s",
        ),
    ],
)
def test_a_server_that_cannot_be_reached_is_named(
    server: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(McpUnavailable, match=message):
        tl.mcp.tools(server, **options)


@pytest.mark.parametrize(
    ("server", "options", "message"),
    [
        ("", {}, "got nothing"),
        ("ftp://host/mcp", {}, "is like https://HOST/mcp"),
        ("https://a:b@host/mcp", {}, "holds a password"),
        ("https://host/mcp", {"env": ["X"]}, "env= and cwd= are for MCP servers that are commands"),
        ("https://host/mcp", {"headers_env": {"A": "NO_SUCH"}}, "NO_SUCH, wanted for A, is not"),
        ("command", {"headers_env": {"A": "B"}}, "headers_env= is for MCP servers with a URL"),
        ("command", {"env": "TOKEN"}, "env= lists names"),
        ("command", {"env": ["NO_SUCH"]}, "NO_SUCH, wanted for env=, is not set"),
    ],
)
def test_a_wrong_address_says_what_to_write(
    server: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tl.mcp.tools(server, **options)


def test_an_unknown_tool_lists_those_there(sdk_tools: tl.mcp.McpTools) -> None:
    with pytest.raises(ConfigError, match=r"has no tool 'nope'; it has count, greet, point"):
        tl.mcp.tools(SDK_SERVER, include=["nope"])
    with pytest.raises(KeyError, match="has no tool 'nope'"):
        sdk_tools["nope"]


def test_an_agent_calls_tools_and_reads_what_went_wrong() -> None:
    llm = tl.LLM("openai://127.0.0.1:9/v1/none")
    script = [
        tl.fake.tool_call("greet", name="Ann") + tl.fake.tool_call("fail", reason="x"),
        tl.fake.tool_call("die"),
        tl.fake.tool_call("greet", name="Bob"),
        "All greeted.",
    ]
    with tl.mcp.tools(SDK_SERVER, include=["greet", "fail", "die"]) as tools:
        clerk = tl.Agent("clerk", llm, tools=[*tools])
        with tl.fake(llm, script) as faked:
            assert clerk("Greet Ann and Bob.") == "All greeted."
    assert faked.calls[0].parameters["tools"] == ["greet", "fail", "die"]
    results = [text for role, text in faked.calls[-1].messages if role == "tool"]
    assert [results[0], results[3]] == ["hello Ann", "hello Bob"]
    assert "McpError: the MCP tool 'fail'" in results[1]
    assert "ended while it ran die" in results[2]


def test_what_a_server_reads_is_read_again_each_time_an_agent_asks(
    sdk_tools: tl.mcp.McpTools,
) -> None:
    call = tl.fake.tool_call("count")
    llm = tl.LLM("fake:", replies={"": call})
    agent = tl.Agent("agent", llm, tools=[sdk_tools["count"]], max_turns=2, on_limit="answer")

    def seen() -> list[Any]:
        made = asyncio.run(agent.using(memo=True).run("How often?")).calls
        return [each.result for each in made]

    first, second = seen(), seen()
    assert int(second[0]) > int(first[0])


def test_a_prefix_tells_the_tools_of_two_servers_apart() -> None:
    with (
        tl.mcp.tools(SDK_SERVER, include=["greet"]) as one,
        tl.mcp.tools(SDK_SERVER, include=["greet"], prefix="other_") as other,
    ):
        llm = tl.LLM("fake:", replies={"hello Ann": "Done.", "": CALL_OTHER})
        with pytest.raises(tl.errors.DefinitionError, match=r"tl\.mcp\.tools\(prefix=\)"):
            tl.Agent("greeter", llm, tools=[*one, *one])
        greeter = tl.Agent("greeter", llm, tools=[*one, *other])
        result = asyncio.run(greeter.run("Greet Ann"))
        assert [(call.name, call.result) for call in result.calls] == [("other_greet", "hello Ann")]
        assert other["other_greet"].name == "other_greet"
