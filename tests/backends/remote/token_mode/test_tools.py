"""Tools in token mode: the markup is written here, calls are read here, and servers that have
grammars are told the form."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backends.base import Request, ToolCall, Turn
from backends.errors import RequestRejected
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.remote.dialects.sglang import SGLang
from backends.remote.dialects.teola import Teola
from backends.remote.dialects.vllm import VLLM
from backends.remote.token_mode.call import Call, Cost, Delta
from backends.remote.token_mode.output import Output
from backends.remote.token_mode.reading import Decode, RequestReader
from backends.remote.token_mode.result import result_of
from backends.remote.tokenizer_source import open_tokenizer
from backends.tool_calls.turn import ToolTurn, read_turn

FIND = {
    "name": "find",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}
TOOLS = [FIND, {"name": "stop"}]
ASK = (Turn("user"), "Find tea.", Turn("assistant"))
SCHEMA = {"type": "object", "properties": {}}
CALL = 'So.\n<tool_call>\n{"name": "find", "arguments": {"q": "tea"}}\n</tool_call>'


@pytest.fixture(scope="module")
def prompts(tiny_tokenizer: Path) -> PromptEncoder:
    return open_tokenizer(tiny_tokenizer)


def decode_of(prompts: PromptEncoder, *inputs: Any, **attrs: Any) -> Decode:
    return RequestReader(prompts, "here").decode(Request("ab" * 16, "decode", inputs, attrs))


def written(prompts: PromptEncoder, call: Call, text: str) -> tuple[Output, list[str]]:
    shown: list[str] = []
    output = Output(prompts, call, shown.append)
    ids = prompts.tokenizer.encode_text(text)
    for token in ids[:-1]:
        output.take(Delta(ids=[token]))
    output.take(Delta(ids=[ids[-1], 258]))
    return output, shown


def test_an_answer_is_the_canonical_turn_and_its_context_takes_tool_turns(
    prompts: PromptEncoder,
) -> None:
    decode = decode_of(prompts, None, *ASK, tools=TOOLS)
    output, shown = written(prompts, decode.calls[0], CALL)
    result = result_of(decode, decode.calls, [output], Cost())
    text, context = result.outputs
    assert "".join(shown) == text
    turn = read_turn(text)
    assert turn == ToolTurn("So.", (ToolCall("call_0", "find", '{"q": "tea"}'),))
    assert result.samples[0].tool_calls == turn.calls
    assert result.finish_reason == "tool_calls"
    assert prompts.tokenizer.decode(context.ids).endswith(CALL)
    later = decode_of(prompts, context, Turn("tool"), "green", Turn("assistant"))
    new = later.prompt.ids[context.num_tokens :]
    assert "<tool_response>\ngreen\n</tool_response>" in prompts.tokenizer.decode(new)
    assert later.calls[0].tools is not None


def test_the_ids_are_those_of_the_embedded_engine_s_encoder(prompts: PromptEncoder) -> None:
    whole = decode_of(prompts, None, *ASK, tools=TOOLS).prompt
    reader = RequestReader(prompts, "here")
    head, _ = reader.prefill(Request("a" * 32, "prefill", (None, *ASK[:2]), {"tools": TOOLS}))
    assert decode_of(prompts, head, ASK[2]).prompt.ids == whole.ids


def dialect(kind: Any) -> Any:
    client: Any = type("Client", (), {"endpoint": type("Endpoint", (), {"root": "http://x"})})()
    return kind(client, "m")


@pytest.mark.parametrize("choice", ["auto", "required", "stop"])
def test_servers_with_structural_tags_are_told_the_calls(
    prompts: PromptEncoder, choice: str
) -> None:
    call = decode_of(prompts, None, *ASK, tools=TOOLS, tool_choice=choice).calls[0]
    for tag in (
        dialect(VLLM).body(call)["structured_outputs"]["structural_tag"],
        dialect(SGLang).body(call)["sampling_params"]["structural_tag"],
    ):
        form = json.loads(tag)["format"]
        assert form["type"] == "triggered_tags"
        assert form["triggers"] == ["<tool_call>"]
        assert form["at_least_one"] == (choice != "auto")
        assert form["stop_after_first"] == (choice == "stop")
        begins = [tag["begin"] for tag in form["tags"]]
        assert '<tool_call>\n{"name": "stop", "arguments": ' in begins
        assert len(begins) == (1 if choice == "stop" else 2)
        assert all(tag["end"] == "}\n</tool_call>" for tag in form["tags"])


def test_sglang_with_llguidance_is_told_the_grammar_of_the_embedded_engine(
    prompts: PromptEncoder,
) -> None:
    sglang = dialect(SGLang)
    sglang._has_llguidance = True
    call = decode_of(prompts, None, *ASK, tools=TOOLS, tool_choice="required").calls[0]
    grammar = sglang.body(call)["sampling_params"]["ebnf"]
    assert grammar.startswith('%llguidance {}\nstart: "<tool_call>" calls\n')


class Refusing:
    """A vLLM server with llguidance: it knows no structural tags of xgrammar's form."""

    def __init__(self) -> None:
        self.endpoint = SimpleNamespace(root="http://here")
        self.sent: list[dict[str, Any]] = []

    async def post(self, path: str, body: dict[str, Any], *, is_safe: bool) -> Any:
        self.sent.append(body["structured_outputs"])
        if "structural_tag" in body["structured_outputs"]:
            raise RequestRejected("400: Invalid grammar specification: 'triggers'")
        choice = {"index": 0, "token_ids": [65], "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def test_vllm_with_llguidance_refuses_a_tag_once_and_is_told_the_grammar_then(
    prompts: PromptEncoder,
) -> None:
    client = Refusing()
    vllm = VLLM(cast(Any, client), "m")
    call = decode_of(prompts, None, *ASK, tools=TOOLS, tool_choice="required").calls[0]

    async def run_twice() -> None:
        for _ in range(2):
            assert [delta.ids async for delta in vllm.run(call)] == [[65]]

    asyncio.run(run_twice())
    assert [*map(list, client.sent)] == [["structural_tag"], ["grammar"], ["grammar"]]
    assert client.sent[1]["grammar"].startswith('start: "<tool_call>" calls\n')


def test_where_calls_are_forbidden_nothing_but_the_sampling_is_sent(
    prompts: PromptEncoder,
) -> None:
    attrs = {"tools": TOOLS, "tool_choice": "none", "schema": SCHEMA}
    call = decode_of(prompts, None, *ASK, **attrs).calls[0]
    assert call.structure is None
    assert "json" in dialect(VLLM).body(call)["structured_outputs"]
    output, _ = written(prompts, call, CALL)
    assert read_turn(output.output) == ToolTurn(CALL)


def test_content_of_a_form_beside_calls_is_held_where_it_can_be_and_else_refused(
    prompts: PromptEncoder,
) -> None:
    call = decode_of(prompts, None, *ASK, tools=TOOLS, schema=SCHEMA).calls[0]
    tag = dialect(VLLM).body(call)["structured_outputs"]["structural_tag"]
    form = json.loads(tag)["format"]
    assert [one["type"] for one in form["elements"]] == ["json_schema", "triggered_tags"]
    with pytest.raises(RequestRejected, match="teola's server.*give tool_choice='none'"):
        dialect(Teola).check(call)


def test_samples_have_ids_and_seeds_of_their_own(prompts: PromptEncoder) -> None:
    calls = decode_of(prompts, None, *ASK, tools=TOOLS, n=2, seed=5, temperature=1.0).calls
    assert [call.seed for call in calls] == [5, 6]
    assert len({call.id for call in calls}) == 2
