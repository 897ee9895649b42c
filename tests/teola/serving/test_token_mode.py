"""teola:// in token mode, over an app in this process: as the embedded engine is."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from token_pair import Pair, ask, ids_of, pair_of

from backends.base import Request, Tokens, Turn
from backends.errors import EngineError, EngineUnavailable, RequestRejected, RequestTooLong
from backends.remote.tokenizer_source import open_tokenizer

CHAT = (Turn("user"), "Name a fruit.", Turn("assistant"))


SAMPLINGS: list[dict[str, Any]] = [
    {"max_tokens": 12},
    {"max_tokens": 12, "ignore_eos": True},
    {"max_tokens": 12, "temperature": 0.9, "seed": 7, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
    {"max_tokens": 12, "temperature": 0.9, "seed": 2**40},
    {"max_tokens": 12, "ignore_eos": True, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    {"max_tokens": 12, "ignore_eos": True, "repetition_penalty": 1.3, "min_tokens": 5},
    {"max_tokens": 12, "logit_bias": {258: 100.0}},
    {"max_tokens": 12, "logit_bias": {258: 100.0}, "min_tokens": 3},
    {"max_tokens": 40, "regex": "[a-z]{3} [0-9]{2}"},
    {"max_tokens": 40, "choices": ["apple", "pear"]},
    {"max_tokens": 60, "schema": {"type": "object", "properties": {"n": {"enum": [1, 2]}}}},
]


@pytest.mark.parametrize("attrs", SAMPLINGS, ids=lambda a: " ".join(a))
def test_a_decode_has_the_text_and_the_tokens_of_the_embedded_engine(
    with_pair: Callable[..., None], attrs: dict[str, Any]
) -> None:
    async def work(pair: Pair) -> None:
        local, remote = await pair.both("decode", None, *CHAT, **attrs)
        assert remote.outputs[0] == local.outputs[0]
        assert ids_of(remote) == ids_of(local)
        assert remote.samples == local.samples
        assert remote.finish_reason == local.finish_reason
        whole = await ask(pair.remote, "generate", *CHAT, **attrs)
        assert whole.outputs == (local.outputs[0],)

    with_pair(work)


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("number", [2, 5])
def test_a_stop_text_is_cut_out_of_text_and_context(
    with_pair: Callable[..., None], number: int, is_streamed: bool
) -> None:
    async def work(pair: Pair) -> None:
        plain = await ask(pair.local, "decode", None, *CHAT, max_tokens=12, ignore_eos=True)
        stop = plain.outputs[0][number : number + 2]
        attrs = {"max_tokens": 12, "ignore_eos": True, "stop": [stop, "never"]}
        shown: list[str] = []
        emit = shown.append if is_streamed else None
        local = await ask(pair.local, "decode", None, *CHAT, **attrs)
        remote = await ask(pair.remote, "decode", None, *CHAT, emit=emit, **attrs)
        assert (remote.outputs[0], ids_of(remote)) == (local.outputs[0], ids_of(local))
        assert remote.samples[0] == local.samples[0]
        assert remote.samples[0].stop == stop
        assert not is_streamed or "".join(shown) == remote.outputs[0]

    with_pair(work)


def test_a_stop_token_is_named_and_left_out(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        plain = await ask(pair.local, "decode", None, *CHAT, max_tokens=12, ignore_eos=True)
        token = ids_of(plain)[-6]
        attrs = {"max_tokens": 12, "ignore_eos": True, "stop_token_ids": [token]}
        local, remote = await pair.both("decode", None, *CHAT, **attrs)
        assert ids_of(remote) == ids_of(local)
        assert token not in ids_of(remote)[-1:]
        assert remote.samples == local.samples
        assert remote.samples[0].stop == token

    with_pair(work)


def test_logprobs_come_by_token_id_with_the_end_of_turn(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        attrs = {"max_tokens": 6, "logprobs": 3, "logit_bias": {258: 8.0}}
        local, remote = await pair.both("decode", None, *CHAT, **attrs)
        ours, theirs = remote.samples[0].logprobs, local.samples[0].logprobs
        assert [token.id for token in ours] == [token.id for token in theirs]
        assert [[t.id for t in token.top] for token in ours] == [
            [t.id for t in token.top] for token in theirs
        ]
        assert [t.logprob for t in ours] == pytest.approx([t.logprob for t in theirs], abs=1e-4)
        assert [t.raw for t in ours] == [t.raw for t in theirs]

    with_pair(work)


def test_forks_and_turns_go_on_with_the_same_tokens(with_pair: Callable[..., None]) -> None:
    async def chat(engine: Any) -> list[Any]:
        found: list[Any] = []
        context = (await ask(engine, "prefill", None, Turn("system"), "Be brief.")).outputs[0]
        for name in ("fruit", "tool"):
            turn = (Turn("user"), f"A {name}?", Turn("assistant"))
            first = await ask(engine, "decode", context, *turn, max_tokens=9)
            turn = (Turn("user"), "More.", Turn("assistant"))
            again = await ask(engine, "decode", first.outputs[1], *turn, max_tokens=9, stop=["e"])
            found += [first.outputs[0], again.outputs[0], list(again.outputs[1].ids)]
        return found

    async def work(pair: Pair) -> None:
        assert await chat(pair.remote) == await chat(pair.local)

    with_pair(work)


def test_n_samples_have_the_seeds_of_the_embedded_engine(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        attrs = {"max_tokens": 8, "n": 3, "seed": 5, "temperature": 1.0}
        local, remote = await pair.both("decode", None, *CHAT, **attrs)
        assert remote.outputs[0] == local.outputs[0]
        assert [c.ids for c in remote.outputs[1]] == [c.ids for c in local.outputs[1]]
        assert len(set(remote.outputs[0])) > 1

    with_pair(work)


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_select_scores_and_picks_as_the_embedded_engine(
    with_pair: Callable[..., None], score: str
) -> None:
    async def work(pair: Pair) -> None:
        choices = ["apple", "a pear", "x"]
        results = []
        for engine in (pair.local, pair.remote):
            context = (await ask(engine, "prefill", None, *CHAT)).outputs[0]
            results.append(await ask(engine, "select", context, choices, score=score))
        local, remote = results
        assert remote.outputs[0] == local.outputs[0]
        assert remote.outputs[1] == pytest.approx(local.outputs[1], abs=1e-5)
        assert remote.outputs[2].ids == local.outputs[2].ids

    with_pair(work)


def test_a_prefill_asks_nothing_of_the_server_unless_it_runs_ahead(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        prompt = Tokens(tuple(range(100)))
        lazy = await ask(pair.remote, "prefill", None, prompt)
        assert lazy.usage.prefill_tokens == 0
        assert pair.local.cache_stats().tree_pages == 0
        ahead = await ask(pair.remote, "prefill", None, prompt, ahead=True)
        assert ahead.usage.prefill_tokens == 100
        assert ahead.usage.decode_tokens == 0
        assert pair.local.cache_stats().tree_pages > 0
        result = await ask(pair.remote, "decode", ahead.outputs[0], max_tokens=2)
        assert result.usage.cached_tokens == 99  # all but the last: it is kept there
        assert result.usage.prefill_tokens == 1

    with_pair(work)


def test_a_salt_keeps_prefixes_apart(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        prompt = Tokens(tuple(range(100)))
        await ask(pair.remote, "prefill", None, prompt, ahead=True, cache_salt="a")
        other = await ask(pair.remote, "decode", None, prompt, max_tokens=1, cache_salt="b")
        same = await ask(pair.remote, "decode", None, prompt, max_tokens=1, cache_salt="a")
        assert (other.usage.cached_tokens, same.usage.cached_tokens) == (0, 96)

    with_pair(work)


def test_what_is_too_long_is_refused_in_the_same_words(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        for engine in (pair.local, pair.remote):
            with pytest.raises(RequestTooLong, match="takes 512: shorten the prompt"):
                await ask(engine, "decode", None, Tokens((1,) * 512))
        cut = await ask(pair.remote, "decode", None, Tokens((1,) * 510), ignore_eos=True)
        assert (cut.finish_reason, cut.usage.decode_tokens) == ("length", 2)

    with_pair(work)


def test_a_context_of_another_engine_is_refused(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        theirs = (await ask(pair.local, "prefill", None, *CHAT)).outputs[0]
        with pytest.raises(RequestRejected, match="must be a context of this engine"):
            await ask(pair.remote, "decode", theirs)

    with_pair(work)


def test_an_aborted_request_frees_the_slot_of_the_server(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        request = Request(
            uuid4().hex, "decode", (None, *CHAT), {"max_tokens": 400, "ignore_eos": True}
        )
        running = asyncio.create_task(pair.remote.execute([request]))
        while pair.engines.served[0].admission.num_admitted == 0:
            await asyncio.sleep(0.01)
        load = await pair.remote.load()
        assert load.num_waiting + load.num_running == 1
        pair.remote.abort(request.id)
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        assert "aborted" in str(outcome)
        while pair.engines.served[0].admission.num_admitted:
            await asyncio.sleep(0.01)

    with_pair(work)


def test_another_tokenizer_is_noticed_at_the_start(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    import json
    import shutil

    other = tmp_path / "other"
    shutil.copytree(tiny_folder(), other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["e"] = vocab["e"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))

    async def main() -> None:
        async with pair_of(tiny_folder()) as pair:
            pair.remote._reader = None
            pair.remote._load = lambda _: open_tokenizer(other)
            with pytest.raises(EngineUnavailable, match="the tokenizer given is not the server's"):
                await pair.remote.start()

    asyncio.run(main())
