"""Contexts of token ids: immutable, shared, and of no server."""

import gc
from pathlib import Path

import pytest

from backends.base import Request, Tokens, Turn
from backends.errors import RequestRejected
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.remote.token_mode.context import TokenContext
from backends.remote.token_mode.reading import RequestReader
from backends.remote.tokenizer_source import open_tokenizer


@pytest.fixture(scope="module")
def prompts(tiny_tokenizer: Path) -> PromptEncoder:
    return open_tokenizer(tiny_tokenizer)


@pytest.fixture
def reader(prompts: PromptEncoder) -> RequestReader:
    return RequestReader(prompts, "vllm://server/tiny", 512)


def request(op: str, *inputs: object, **attrs: object) -> Request:
    return Request("ab" * 16, op, inputs, attrs)


def test_forks_share_the_tokens_of_their_parent(prompts: PromptEncoder) -> None:
    parent = TokenContext(prompts, None, range(100), None)
    before = len(gc.get_objects())
    forks = [parent.extended([number], None) for number in range(50)]
    assert len(gc.get_objects()) - before < 250  # nothing of the size of the parent is made anew
    assert all(fork._parent is parent for fork in forks)
    assert forks[7].ids == [*range(100), 7]
    assert (parent.num_tokens, forks[7].num_tokens) == (100, 101)
    parent.ids.append(1)
    assert parent.ids == [*range(100)]


def test_a_chat_of_very_many_turns_is_read_and_freed(prompts: PromptEncoder) -> None:
    context = TokenContext(prompts, None, [0], None)
    for turn in range(20_000):
        context = context.extended([turn % 200], None)
    assert context.num_tokens == len(context.ids) == 20_001
    del context
    gc.collect()


def test_parts_in_steps_have_the_ids_of_one_prompt(
    reader: RequestReader, prompts: PromptEncoder
) -> None:
    first, _ = reader.prefill(request("prefill", None, Turn("user"), "Hello"))
    second, _ = reader.prefill(request("prefill", first, ", you.", Turn("assistant")))
    whole = prompts.encode([Turn("user"), "Hello", ", you.", Turn("assistant")], (), None)
    assert (second.ids, second.turn) == whole
    decode = reader.decode(request("decode", second, max_tokens=4))
    assert list(decode.calls[0].ids) == whole[0]


def test_a_context_goes_from_one_engine_to_another_of_the_same_tokenizer(
    reader: RequestReader, prompts: PromptEncoder
) -> None:
    context, _ = reader.prefill(request("prefill", None, "Hello"))
    other = RequestReader(prompts, "vllm://another/tiny")
    assert other.decode(request("decode", context)).prompt.ids == context.ids


@pytest.mark.parametrize(
    ("attr", "first", "then"),
    [("adapter", "json", "sql"), ("adapter", None, "sql"), ("cache_salt", "a", "b")],
)
def test_no_other_adapter_or_salt_follows(
    reader: RequestReader, attr: str, first: str | None, then: str
) -> None:
    context, _ = reader.prefill(request("prefill", None, "Hello", **{attr: first}))
    with pytest.raises(RequestRejected, match="this context was made"):
        reader.decode(request("decode", context, **{attr: then}))
    same = reader.decode(request("decode", context, max_tokens=2))
    (call,) = same.calls
    assert (call.adapter, call.salt) == ((first, "") if attr == "adapter" else (None, first))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (request("decode", None), "at least one token"),
        (request("decode", None, Tokens((259,))), "a prompt has a token 259"),
        (request("decode", None, "a", logit_bias={999: 1.0}), "logit_bias has a token 999"),
        (request("decode", None, "a", unknown=1), "decode has no attribute 'unknown'"),
        (request("decode", None, "a", schema="{"), "schema is not a JSON object"),
        (request("decode", None, "a", schema="true"), "schema is not a JSON object, but true"),
        (request("decode", None, "a", tools=[{}]), "has no name"),
        (request("decode", "text"), "must be a context of this engine"),
        (request("prefill", None, "a", max_tokens=1), "prefill takes no attributes but"),
        (request("select", None, ["a"]), "at least one token"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_is_refused_here(reader: RequestReader, bad: Request, says: str) -> None:
    with pytest.raises(RequestRejected, match=says):
        getattr(reader, bad.op)(bad)
