"""`teola://` in token mode passes chunks and plans on, and says what the server saved."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from held_steps import HeldSteps
from token_pair import Pair, ask, ids_of

from backends.base import Chunk, Request, Result, Turn
from backends.errors import EngineError, RequestRejected
from backends.remote.token_mode.call import ChunkAt, Prompt
from backends.remote.token_mode.chunks import pieces_of

HEAD = (Turn("user"), "Answer from these. ")
CHUNKS = tuple(map(Chunk, ("The sea is deep and cold here.", "A bell rang twice.", "Odd.")))
REST = (" What rang?", Turn("assistant"))
DECODE = {"max_tokens": 8, "ignore_eos": True}


async def fused(engine: Any, *parts: Any, fusion: str = "reuse", **attrs: Any) -> Result:
    """A fused prefill and its decode."""
    prefill = await ask(engine, "prefill", None, *parts, fusion=fusion)
    result: Result = await ask(engine, "decode", prefill.outputs[0], **{**DECODE, **attrs})
    return result


@pytest.mark.parametrize("plan", ["reuse", "lego(4)"])
def test_a_fused_prompt_has_the_tokens_of_the_embedded_engine(
    with_pair: Callable[..., None], plan: str
) -> None:
    async def work(pair: Pair) -> None:
        assert "fusion" in pair.remote.info.capabilities
        for chunks in (CHUNKS, CHUNKS[::-1], (CHUNKS[1], CHUNKS[1])):
            prompt = (*HEAD, *chunks, *REST)
            local = await fused(pair.local, *prompt, fusion=plan)
            remote = await fused(pair.remote, *prompt, fusion=plan)
            assert ids_of(remote) == ids_of(local)
            assert remote.usage.fused_tokens > 0
            assert remote.fusion is not None
            assert (remote.fusion.plan, remote.fusion.num_chunks) == (plan, len(chunks))

    with_pair(work)


def test_a_context_goes_on_with_its_chunks(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        first = await fused(pair.remote, *HEAD, *CHUNKS, *REST)
        follow = (Turn("user"), Chunk("A gull cried."), " And then?", Turn("assistant"))
        context = (await ask(pair.remote, "prefill", first.outputs[1], *follow)).outputs[0]
        assert [chunk.text for chunk in context.chunks] == list(CHUNKS)
        later = await ask(pair.remote, "decode", context, **DECODE)
        assert later.fusion.num_chunks == 3
        more = (await ask(pair.remote, "prefill", context, *follow, fusion="reuse")).outputs[0]
        assert [chunk.text for chunk in more.chunks] == [*CHUNKS, "A gull cried."]
        (start, end, text) = more.chunks[-1]
        assert more.prompts.tokenizer.decode(more.ids[start:end]) == text

    with_pair(work)


def test_samples_and_streams_are_fused_too(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        prompt = (*HEAD, *CHUNKS, *REST)
        alone = await fused(pair.remote, *prompt)
        several = await fused(pair.remote, *prompt, n=2)
        assert several.outputs[0] == [alone.outputs[0]] * 2
        assert several.fusion is not None
        assert several.fusion.num_chunks == 6  # each of them a prompt of its own
        context = (await ask(pair.remote, "prefill", None, *prompt, fusion="reuse")).outputs[0]
        shown: list[str] = []
        streamed = await ask(pair.remote, "decode", context, emit=shown.append, **DECODE)
        assert "".join(shown) == streamed.outputs[0] == alone.outputs[0]
        assert streamed.fusion is not None

    with_pair(work)


def test_a_prefill_that_runs_ahead_encodes_the_chunks(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        prompt = (*HEAD, *CHUNKS, *REST)
        ahead = await ask(pair.remote, "prefill", None, *prompt, fusion="reuse", ahead=True)
        assert ahead.fusion.num_encoded == 3
        other = await fused(pair.remote, *HEAD, *CHUNKS[::-1], *REST)
        assert other.fusion is not None
        assert other.fusion.num_encoded == 0

    with_pair(work)


def test_chunks_are_encoded_without_a_prompt(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        for num_new in (3, 0):
            encoded = await ask(pair.remote, "encode", None, *HEAD, *CHUNKS)
            assert encoded.outputs == (num_new,)
        assert (await ask(pair.remote, "encode", None, *HEAD)).outputs == (0,)
        fused_prompt = await fused(pair.remote, *HEAD, *CHUNKS[::-1], *REST)
        assert fused_prompt.fusion is not None
        assert fused_prompt.fusion.num_encoded == 0
        many = [Chunk(f"Passage {i} is about {i} ships. ") for i in range(30)]  # 900 tokens
        assert (await ask(pair.remote, "encode", None, *HEAD, *many)).outputs == (30,)
        with pytest.raises(RequestRejected, match="encode takes no attributes"):
            await ask(pair.remote, "encode", None, *HEAD, *CHUNKS, stop="x")
        with pytest.raises(RequestRejected, match="fusion must name a plan, not 3"):
            await ask(pair.remote, "encode", None, *HEAD, *CHUNKS, fusion=3)

    with_pair(work)


def test_chunks_encoded_behind_nothing_are_there_for_other_heads(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        plan, other = "lego(4)+alone", (Turn("user"), "Say what these say. ")
        for num_new in (3, 0):
            encoded = await ask(pair.remote, "encode", None, *HEAD, *CHUNKS, fusion=plan)
            assert encoded.outputs == (num_new,)
        result = await fused(pair.remote, *other, *CHUNKS, *REST, fusion=plan)
        assert result.fusion is not None
        assert result.fusion.num_encoded == 0
        behind = await fused(pair.remote, *other, *CHUNKS, *REST, fusion="lego(4)")
        assert behind.fusion is not None
        assert behind.fusion.num_encoded > 0
        head = (await ask(pair.remote, "prefill", None, *other, CHUNKS[0], fusion="reuse")).outputs
        assert (await ask(pair.remote, "encode", *head, *CHUNKS, fusion=plan)).outputs == (0,)

    with_pair(work)


def test_chunks_behind_a_context_are_encoded_there(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        head = (await ask(pair.remote, "prefill", None, *HEAD)).outputs[0]
        assert (await ask(pair.remote, "encode", head, *CHUNKS)).outputs == (3,)
        assert (await ask(pair.remote, "encode", None, *HEAD, *CHUNKS)).outputs == (0,)
        fused_head = (await ask(pair.remote, "prefill", head, CHUNKS[0], fusion="reuse")).outputs[0]
        long = Chunk("A gull cried over the harbour wall.")
        assert (await ask(pair.remote, "encode", fused_head, long)).outputs == (1,)

    with_pair(work)


def test_choices_are_scored_behind_a_fused_prompt(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        results = []
        for engine in (pair.local, pair.remote):
            prefill = await ask(engine, "prefill", None, *HEAD, *CHUNKS, *REST, fusion="reuse")
            results.append(await ask(engine, "select", prefill.outputs[0], ["a bell", "a gull"]))
        local, remote = results
        assert remote.outputs[1] == pytest.approx(local.outputs[1], abs=1e-5)
        assert remote.usage.fused_tokens > 0

    with_pair(work)


def test_without_fusion_a_chunk_is_its_text(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        marked = await ask(pair.remote, "decode", None, *HEAD, *CHUNKS, *REST, **DECODE)
        plain = await ask(pair.remote, "decode", None, *HEAD, "".join(CHUNKS), *REST, **DECODE)
        assert ids_of(marked) == ids_of(plain)
        assert marked.fusion is None

    with_pair(work)


def test_a_plan_that_the_server_refuses_is_a_request_rejected(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        with pytest.raises(RequestRejected, match="fastest"):
            await fused(pair.remote, *HEAD, *CHUNKS, *REST, fusion="fastest")
        with pytest.raises(RequestRejected, match="fusion must name a plan, not 3"):
            await ask(pair.remote, "prefill", None, *HEAD, *CHUNKS, fusion=3)

    with_pair(work)


def test_a_prompt_has_one_plan(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        first = await ask(pair.remote, "prefill", None, *HEAD, *CHUNKS, fusion="reuse")
        with pytest.raises(RequestRejected, match="one plan"):
            await ask(pair.remote, "prefill", first.outputs[0], *REST, fusion="lego(4)")

    with_pair(work)


def test_a_server_without_fusion_is_not_asked_for_it(with_pair: Callable[..., None]) -> None:
    """Prompts were planned before it said so, and are exact then."""

    async def work(pair: Pair) -> None:
        assert "fusion" not in pair.remote.info.capabilities
        result = await fused(pair.remote, *HEAD, *CHUNKS, *REST)
        assert (result.fusion, result.usage.fused_tokens) == (None, 0)
        plain = await ask(pair.remote, "prefill", None, *HEAD, *CHUNKS, *REST)
        exact = await ask(pair.remote, "decode", plain.outputs[0], **DECODE)
        assert ids_of(result) == ids_of(exact)
        with pytest.raises(RequestRejected, match="does not offer KV cache fusion"):
            await ask(pair.remote, "encode", None, *HEAD, *CHUNKS)

    with_pair(work, is_exact=True)


def test_an_endpoint_that_lost_fusion_says_so(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        context = (await ask(pair.remote, "prefill", None, *HEAD, *CHUNKS, fusion="reuse")).outputs
        pair.remote._dialect._able -= {"fusion"}  # type: ignore[union-attr]
        with pytest.raises(RequestRejected, match="does not offer fusion"):
            await ask(pair.remote, "decode", context[0], **DECODE)

    with_pair(work)


def test_aborting_ends_the_fused_prefill_of_the_server(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        core: Any = pair.local._core
        prompt = (*HEAD, "Wait. " * 40, *CHUNKS, *REST)
        context = (await ask(pair.remote, "prefill", None, *prompt, fusion="reuse")).outputs[0]
        request = Request(uuid4().hex, "decode", (context,), DECODE)
        steps = HeldSteps(pair.local, after=4)
        running = asyncio.create_task(pair.remote.execute([request]))
        await steps.begun()
        pair.remote.abort(request.id)
        await steps.aborted()
        steps.go_on()
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        while core.has_work or pair.engines.served[0].admission.num_admitted:
            await asyncio.sleep(0.01)
        assert core.num_steps < 60

    with_pair(work, token_budget=4)


def test_chunks_stand_between_token_ids() -> None:
    chunks = [ChunkAt(2, 4, "ab"), ChunkAt(4, 5, "c"), ChunkAt(7, 8, "d")]
    prompt = Prompt(id="", ids=range(8), fusion="reuse", chunks=chunks)
    assert list(pieces_of(prompt)) == [
        {"type": "tokens", "tokens": [0, 1]},
        {"type": "chunk", "text": "ab"},
        {"type": "chunk", "text": "c"},
        {"type": "tokens", "tokens": [5, 6]},
        {"type": "chunk", "text": "d"},
    ]


def test_what_begins_a_prompt_is_no_chunk_to_the_server(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        context = (await ask(pair.remote, "prefill", None, *CHUNKS, fusion="reuse")).outputs[0]
        assert [chunk.text for chunk in context.chunks] == list(CHUNKS[1:])

    with_pair(work)
