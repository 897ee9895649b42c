"""Tokens that a grammar forces are appended without a step, and change nothing else."""

import json
import random
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from backends.llm.requests.sampling import GrammarSource
from backends.llm.sample.grammar import Grammars, Matcher, mask
from backends.llm.text.tokenizer import Tokenizer

TICKET = {
    "type": "object",
    "properties": {
        "category": {"enum": ["billing", "technical", "other"]},
        "is_urgent": {"type": "boolean"},
        "priority": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["category", "is_urgent", "priority"],
    "additionalProperties": False,
}


def run(tiny: Any, jump: bool, **attrs: Any) -> tuple[Any, int]:
    """The result, and how many steps it took."""
    driver = tiny.driver(jump_forward=jump)
    context = driver.prefill(None, "a ticket: ")
    before = driver.core.num_steps
    result = driver.decode(context, **attrs)
    return result, driver.core.num_steps - before


@pytest.mark.parametrize("attrs", [{}, {"temperature": 1.0, "seed": 4}], ids=["greedy", "drawn"])
def test_the_text_is_the_same_and_the_steps_are_fewer(tiny: Any, attrs: dict[str, Any]) -> None:
    slow, num_slow = run(tiny, jump=False, schema=TICKET, **attrs)
    fast, num_fast = run(tiny, jump=True, schema=TICKET, **attrs)
    assert fast.outputs[0] == slow.outputs[0]
    assert fast.outputs[1].ids == slow.outputs[1].ids
    json.loads(fast.outputs[0])
    assert slow.usage.decode_tokens == num_slow
    assert slow.usage.forced_tokens == 0
    assert fast.usage.decode_tokens == num_fast
    assert fast.usage.forced_tokens + num_fast == num_slow
    assert num_fast < num_slow / 5  # the byte tokenizer writes every letter of a key apart


def test_usage_counts_no_forced_token_as_prompt(tiny: Any) -> None:
    driver = tiny.driver()
    prefill = driver.call("prefill", None, "a ticket: ")
    decode = driver.decode(prefill.outputs[0], schema=TICKET)
    again = driver.decode(prefill.outputs[0], schema=TICKET)
    assert prefill.usage.prefill_tokens + decode.usage.prefill_tokens == len("a ticket: ")
    assert again.usage.prefill_tokens + again.usage.cached_tokens <= 1
    assert again.outputs == (decode.outputs[0], again.outputs[1])


def test_an_output_of_forced_tokens_alone_takes_one_step(tiny: Any) -> None:
    result, num_steps = run(tiny, jump=True, choices=["only this"])
    assert result.outputs[0] == "only this"
    assert (result.finish_reason, num_steps) == ("stop", 1)
    assert result.usage.decode_tokens + result.usage.forced_tokens == len("only this")


@pytest.mark.parametrize("max_tokens", [1, 5, 30])
def test_forced_tokens_count_for_max_tokens(tiny: Any, max_tokens: int) -> None:
    slow, _ = run(tiny, jump=False, schema=TICKET, max_tokens=max_tokens)
    fast, _ = run(tiny, jump=True, schema=TICKET, max_tokens=max_tokens)
    assert fast.outputs[1].ids == slow.outputs[1].ids
    assert fast.finish_reason == slow.finish_reason == "length"


@pytest.mark.parametrize("stop", ["cat", '"is_', ": "])
def test_a_stop_string_in_forced_text_ends_the_output_there(tiny: Any, stop: str) -> None:
    slow, _ = run(tiny, jump=False, schema=TICKET, stop=[stop])
    pieces: list[str] = []
    fast, _ = run(tiny, jump=True, schema=TICKET, stop=[stop], emit=pieces.append)
    assert fast.outputs[0] == slow.outputs[0] == "".join(pieces)
    assert stop not in fast.outputs[0]
    assert fast.outputs[1].ids == slow.outputs[1].ids
    assert fast.samples[0].stop == stop


def test_log_probabilities_are_those_of_every_token_so_none_is_forced(tiny: Any) -> None:
    result, num_steps = run(tiny, jump=True, schema=TICKET, logprobs=0)
    assert result.usage.forced_tokens == 0
    assert len(result.samples[0].logprobs) == num_steps


def test_a_preempted_output_goes_on_where_it_was(tiny: Any) -> None:
    expected, _ = run(tiny, jump=False, schema=TICKET)
    driver = tiny.driver(kv_tokens=128, page_size=8)
    contexts = [driver.prefill(None, "a ticket: ") for _ in range(4)]
    results = driver.run(*(driver.submit("decode", c, schema=TICKET) for c in contexts))
    assert {r.outputs[0] for r in results} == {expected.outputs[0]}


def trained() -> Tokenizer:
    """A tokenizer with long tokens, so that forced text may be cut into tokens in many ways."""
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    text = json.dumps([{"category": "billing", "is_urgent": True, "priority": i} for i in range(9)])
    rust.train_from_iterator([text] * 20, trainer)
    rust.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    return Tokenizer(rust, eos_ids=[rust.token_to_id("<|im_end|>")])


def allowed(matcher: Matcher, vocab_size: int) -> list[int]:
    import torch

    logits = torch.zeros(1, vocab_size)
    mask(logits, [(0, matcher)])
    found: list[int] = torch.isfinite(logits[0]).nonzero().flatten().tolist()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_where_a_token_is_forced_the_mask_has_no_other(seed: int) -> None:
    tokenizer = trained()
    size, (end,) = tokenizer.vocab_size, tokenizer.eos_ids
    grammars = Grammars(tokenizer, size, [end])
    matcher = grammars.matcher(GrammarSource("schema", json.dumps(TICKET)))
    choose = random.Random(seed)
    num_forced = 0
    ids: list[int] = []
    while not matcher.is_finished:
        for token in matcher.forced():
            assert allowed(matcher, size) == [token]
            matcher.consume(token)
            ids.append(token)
            num_forced += 1
        if not matcher.is_finished:
            ids.append(choose.choice(allowed(matcher, size)))
            matcher.consume(ids[-1])
    text = tokenizer.decode(ids)
    json.loads(text)
    assert num_forced > len(ids) / 3
    assert max(len(tokenizer.bytes_of(token)) for token in ids) > 5  # not byte by byte
