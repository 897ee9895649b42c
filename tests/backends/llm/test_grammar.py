"""Structured output: whatever the model prefers, the text follows the schema."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from backends.base import Turn
from backends.errors import RequestRejected
from backends.llm.grammar import Grammars, apply_mask


class Address(BaseModel):
    street: str
    number: int


class Person(BaseModel):
    name: str
    age: int
    admin: bool
    tags: list[str]
    address: Address


CHOICE = {"enum": ["red", "green", "blue"]}
BOUNDED = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": 99},
        "kind": {"enum": ["a", "b"]},
        "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    },
    "required": ["id", "kind", "items"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(6))
def test_a_random_model_follows_a_bounded_schema(tiny: Any, seed: int) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    result = driver.decode(context, schema=BOUNDED, temperature=1.5, seed=seed, max_tokens=200)
    value = json.loads(result.outputs[0])
    assert result.finish_reason == "stop"
    assert 1 <= value["id"] <= 99
    assert value["kind"] in ("a", "b")
    assert 2 <= len(value["items"]) <= 3
    assert all(isinstance(item, bool) for item in value["items"])


def test_the_end_is_allowed_only_where_the_text_may_end(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    for seed in range(20):
        result = driver.decode(context, schema=CHOICE, temperature=3.0, seed=seed)
        assert json.loads(result.outputs[0]) in CHOICE["enum"]
        assert result.finish_reason == "stop"


def test_constrained_and_free_rows_share_a_batch(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    free = driver.decode(context, max_tokens=20).outputs[0]
    ids = [
        driver.submit("decode", context, schema=CHOICE),
        driver.submit("decode", context, max_tokens=20),
    ]
    chosen, again = driver.run(*ids)
    assert json.loads(chosen.outputs[0]) in CHOICE["enum"]
    assert again.outputs[0] == free


def test_a_schema_is_compiled_once(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(tiny.tokenizer, 259, [258], capacity=1)
    compiled: list[str] = []
    compile_schema = grammars._compile
    monkeypatch.setattr(
        grammars, "_compile", lambda text: compiled.append(text) or compile_schema(text)
    )
    for schema in ('{"type":"integer"}', '{"type":"integer"}', '{"type":"null"}'):
        grammars.matcher(schema)
    assert compiled == ['{"type":"integer"}', '{"type":"null"}']


def test_a_bad_schema_is_rejected(tiny: Any) -> None:
    with pytest.raises(RequestRejected, match="schema cannot be followed"):
        Grammars(tiny.tokenizer, 259, [258]).matcher('{"type":"strange"}')


def test_a_mask_clears_bits_and_what_lies_beyond_them() -> None:
    import torch

    logits = torch.zeros(1, 40)
    bits = torch.tensor([[0b101, 0b10]], dtype=torch.int32)
    apply_mask(logits, bits)
    assert torch.isfinite(logits[0]).nonzero().flatten().tolist() == [0, 2, 33]


@pytest.mark.model
@pytest.mark.parametrize("schema_of", [Person, list[Address], dict[str, int] | None])
def test_smollm_fills_pydantic_models(smollm: Any, schema_of: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(schema_of)
    driver = smollm.driver(kv_tokens=1024)
    context = driver.prefill(
        None, Turn("user"), "Describe Ann, 31, of Elm Street 5, as JSON.", Turn("assistant")
    )
    result = driver.decode(context, schema=adapter.json_schema(), max_tokens=80)
    if result.finish_reason == "stop":
        adapter.validate_json(result.outputs[0])
    else:  # cut in the middle: still a prefix of valid JSON
        assert result.outputs[0].startswith(("{", "[", "null"))
