"""An app whose calls go through different LoRA adapters of one embedded model."""

import json
from pathlib import Path

import pytest

import teola as tl

pytestmark = pytest.mark.model

ADAPTER = Path(__file__).parents[1] / "data/adapters/smollm2_toolcall_lora"
CITY = {"type": "string", "description": "The name of the city."}
TOOL = {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "parameters": {"type": "dict", "properties": {"city": CITY}, "required": ["city"]},
}

llm = tl.LLM("local:smollm2-135m", adapters={"toolcall": str(ADAPTER)}, kv_tokens=2048)


@tl.prompt(llm, max_tokens=12)
def plain(question: str) -> str:
    return f"Function: {json.dumps(TOOL)}\nQuestion: {question}"


@tl.prompt(llm.with_adapter("toolcall"), max_tokens=12)
def called(question: str) -> str:
    return f"Function: {json.dumps(TOOL)}\nQuestion: {question}"


@tl.app
def both(question: str) -> list[str]:
    return [plain(question), called(question)]


def test_each_call_answers_through_its_own_adapter() -> None:
    without, with_adapter = both("Get the weather of Paris.")
    assert with_adapter.startswith('{"name": "get_weather"')
    assert not without.startswith("{")
