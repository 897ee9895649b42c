"""Structured output: whatever the model prefers, the text follows the schema."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter

from backends.base import Turn
from backends.errors import EngineError, RequestRejected
from backends.llm.requests.sampling import GrammarSource
from backends.llm.sample import grammar
from backends.llm.sample.grammar import Grammars, apply_mask, mask


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
    compile_one = grammars._compile

    def note(source: GrammarSource) -> Any:
        compiled.append(source.text)
        return compile_one(source)

    monkeypatch.setattr(grammars, "_compile", note)
    for schema in ('{"type":"integer"}', '{"type":"integer"}', '{"type":"null"}'):
        grammars.matcher(GrammarSource("schema", schema))
    assert compiled == ['{"type":"integer"}', '{"type":"null"}']


def test_a_slow_grammar_keeps_no_other_waiting(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(tiny.tokenizer, 259, [258])
    release, seen = threading.Event(), []
    compile_one = grammars._compile

    def compile_slowly(source: GrammarSource) -> Any:
        seen.append(source.text)
        if source.text == "slow":
            release.wait(60)
        return compile_one(source)

    monkeypatch.setattr(grammars, "_compile", compile_slowly)
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(grammars.matcher, GrammarSource("regex", "slow")) for _ in range(2)]
        pool.submit(grammars.matcher, GrammarSource("regex", "quick")).result(60)
        assert not any(future.done() for future in slow)
        release.set()
        assert all(future.result(60) for future in slow)
    assert seen.count("slow") == 1  # the second waited for the first


def test_a_grammar_beyond_the_limit_is_rejected(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "MAX_GRAMMAR_CHARS", 10)
    with pytest.raises(RequestRejected, match="regex has 11 characters; 10 are allowed"):
        Grammars(tiny.tokenizer, 259, [258]).matcher(GrammarSource("regex", "a" * 11))


@pytest.mark.parametrize("pattern", [r"[0-9]{3}-[a-f]+", r"(yes|no)!", r"\d{2}:\d{2}", "(?i)owl"])
def test_a_random_model_follows_a_regex(tiny: Any, pattern: str) -> None:
    driver = tiny.driver(stops=True)
    context = driver.prefill(None, "abc")
    for seed in range(5):
        result = driver.decode(context, regex=pattern, temperature=1.0, seed=seed, max_tokens=300)
        if result.finish_reason == "stop":
            assert re.fullmatch(pattern, result.outputs[0])


CHOICES = ["a", "ab", 'say "é"\n', "\\d+", "owl"]


def test_a_grammar_ends_an_output_also_where_the_end_token_is_ignored(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    attrs = {"regex": "[ab]{2,}", "logit_bias": {258: 1000.0}, "max_tokens": 20}
    result = driver.decode(context, ignore_eos=True, **attrs)
    assert re.fullmatch("[ab]{2}", result.outputs[0])
    assert result.outputs[1].num_tokens == context.num_tokens + 2  # the end is no part of it
    assert result.finish_reason == "stop"


def test_an_output_is_one_of_the_choices(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    found = {
        driver.decode(context, choices=CHOICES, temperature=3.0, seed=seed).outputs[0]
        for seed in range(60)
    }
    assert found == set(CHOICES)


def test_any_object_is_a_schema_too(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    found = [
        driver.decode(context, schema={"type": "object"}, temperature=1.0, seed=s, max_tokens=100)
        for s in range(10)
    ]
    ended = [r.outputs[0] for r in found if r.finish_reason == "stop"]
    assert all(isinstance(json.loads(text), dict) for text in ended)
    assert all(r.outputs[0].startswith("{") for r in found)


def test_a_bad_schema_is_rejected(tiny: Any) -> None:
    with pytest.raises(RequestRejected, match="schema cannot be followed"):
        Grammars(tiny.tokenizer, 259, [258]).matcher(GrammarSource("schema", '{"type":"strange"}'))


@pytest.mark.parametrize("pattern", ["(", "a(?=b)"])
def test_a_bad_regex_is_rejected(tiny: Any, pattern: str) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    with pytest.raises(RequestRejected, match="regex cannot be followed"):
        driver.submit("decode", context, regex=pattern)


def test_a_matcher_that_gave_up_fails_its_own_request(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    bad = driver.submit("decode", context, schema=BOUNDED)
    good = driver.submit("decode", context, schema=BOUNDED)
    (broken,) = driver.core.live.groups[bad].live
    broken.generation.matcher.native.consume_token(5)
    failed, result = driver.run(bad, good)
    assert isinstance(failed, EngineError)
    assert "structured output failed" in str(failed)
    assert json.loads(result.outputs[0])


def test_a_mask_of_some_rows_leaves_the_others_alone(tiny: Any) -> None:
    import torch

    matcher = Grammars(tiny.tokenizer, 259, [258]).matcher(GrammarSource("regex", "[ab]"))
    for logits in (torch.zeros(3, 259), np.zeros((3, 259), np.float32)):
        mask(logits, [(1, matcher)])
        assert np.isfinite(np.asarray(logits)).sum(-1).tolist() == [259, 2, 259]


@pytest.mark.parametrize("is_torch", [False, True])
def test_a_mask_clears_bits_and_what_lies_beyond_them(is_torch: bool) -> None:
    import torch

    logits = np.zeros((1, 40), np.float32)
    bits = np.array([[0b101, 0b10]], np.int32)
    apply_mask(torch.from_numpy(logits) if is_torch else logits, bits)
    assert np.isfinite(logits[0]).nonzero()[0].tolist() == [0, 2, 33]


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
