"""An output from a server's tokens is what the embedded engine makes of the same tokens."""

import math
from collections.abc import Sequence as Items
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import Request
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.sampling import Sampling
from backends.llm.sample.sampler import Pick
from backends.llm.sequence.generation import Generation
from backends.llm.sequence.output import grow
from backends.llm.sequence.sequence import Sequence
from backends.llm.text.detokenizer import detokenizer_of
from backends.llm.text.stop import StopScanner, cut_at_text
from backends.remote.token_mode.call import Call, Delta, TokenScore
from backends.remote.token_mode.output import Output
from backends.remote.tokenizer_source import open_tokenizer

EOS = 258
TOKENS = [64, 65, 66, 220, 97, 131, 161, 255, 256, 257, EOS]  # a b c, space, bytes, markup


@pytest.fixture(scope="module")
def prompts(tiny_tokenizer: Path) -> PromptEncoder:
    return open_tokenizer(tiny_tokenizer)


def call_of(sampling: Sampling, max_new: int = 100) -> Call:
    ends = () if sampling.ignore_eos else (EOS,)
    return Call(id="ab" * 16, ids=[1], sampling=sampling, max_new=max_new, end_ids=ends)


def embedded(prompts: PromptEncoder, tokens: Items[int], sampling: Sampling) -> Any:
    """Text, tokens and end by the embedded engine's own code."""
    generation = Generation(
        sampling,
        max_new=sampling.max_tokens,
        stream=0,
        detokenizer=detokenizer_of(prompts.tokenizer),
        stops=StopScanner(sampling.stop),
    )
    sequence = Sequence(Request("ab" * 16, "decode", ()), 0, None, [1], None, generation)
    for token in tokens:
        if grow(sequence, generation, Pick(token), () if sampling.ignore_eos else (EOS,)):
            break
    else:
        return None
    ids = sequence.output_ids
    if generation.stops.is_stopped:
        kept = cut_at_text(ids, generation.text, prompts.tokenizer)
        ids = ids[: kept.num_same] + kept.rest
    return generation.text, ids, generation.sample, generation.num_sampled


def remote(
    prompts: PromptEncoder, tokens: Items[int], sampling: Sampling, cuts: Items[int]
) -> tuple[Any, str]:
    """The same from a stream that is cut into chunks, and what was shown meanwhile."""
    shown: list[str] = []
    output = Output(prompts, call_of(sampling, sampling.max_tokens), shown.append)
    places = sorted({0, *(cut % (len(tokens) + 1) for cut in cuts), len(tokens)})
    for start, end in pairwise(places):
        if output.take(Delta(ids=tokens[start:end])):
            found = output.text, output.ids, output.sample, output.num_decoded
            return found, "".join(shown)
    return None, ""


@settings(max_examples=300, deadline=None)
@given(
    tokens=st.lists(st.sampled_from(TOKENS), max_size=14),
    stops=st.lists(st.text("abc ", min_size=1, max_size=3), max_size=2),
    stop_ids=st.lists(st.sampled_from([65, 257]), max_size=1),
    limit=st.integers(1, 12),
    least=st.integers(0, 4),
    ignores=st.booleans(),
    cuts=st.lists(st.integers(0, 14), max_size=4),
)
def test_chunks_of_any_size_make_what_the_embedded_engine_makes(
    prompts: PromptEncoder,
    tokens: list[int],
    stops: list[str],
    stop_ids: list[int],
    limit: int,
    least: int,
    ignores: bool,
    cuts: list[int],
) -> None:
    sampling = Sampling(
        max_tokens=limit,
        min_tokens=least,
        stop=tuple(stops),
        stop_token_ids=tuple(stop_ids),
        ignore_eos=ignores,
    )
    expected = embedded(prompts, tokens, sampling)
    found, shown = remote(prompts, tokens, sampling, cuts)
    assert found == expected
    assert expected is None or shown == expected[0]


def test_an_end_that_only_the_server_knows_leaves_no_markup_behind(prompts: PromptEncoder) -> None:
    output = Output(prompts, call_of(Sampling()))
    assert output.take(Delta(ids=[64, 257], finish="stop"))
    assert (output.ids, output.sample.finish_reason) == ([64], "stop")


def test_an_end_by_length_keeps_the_last_token(prompts: PromptEncoder) -> None:
    output = Output(prompts, call_of(Sampling()))
    assert output.take(Delta(ids=[64, 65], finish="length"))
    assert (output.ids, output.sample.finish_reason) == ([64, 65], "length")


def test_a_character_that_never_became_whole_is_shown_at_the_end(prompts: PromptEncoder) -> None:
    (first, *_) = prompts.tokenizer.encode_text("é")
    shown: list[str] = []
    output = Output(prompts, call_of(Sampling()), shown.append)
    assert not output.take(Delta(ids=[first]))
    assert shown == []
    assert output.take(Delta(ids=[], finish="length"))
    assert shown == ["\N{REPLACEMENT CHARACTER}"]


def test_counts_are_the_servers_where_it_says_them(prompts: PromptEncoder) -> None:
    output = Output(prompts, call_of(Sampling()))
    output.take(Delta(ids=[64], num_cached=7, num_decoded=1))
    output.take(Delta(ids=[65], finish="length", num_decoded=5))
    assert (output.num_cached, output.num_decoded) == (7, 5)


def test_scores_name_tokens_with_their_bytes(prompts: PromptEncoder) -> None:
    output = Output(prompts, call_of(Sampling(logprobs=1)))
    rows = [TokenScore(64, -0.5, [(65, -0.25)]), TokenScore(EOS, -math.inf)]
    output.take(Delta(ids=[64, EOS], scores=rows, finish="stop"))
    first, last = output.sample.logprobs
    assert (first.raw, first.logprob, first.top[0].id) == (b"a", -0.5, 65)
    assert (last.raw, last.logprob) == (b"", -math.inf)
