"""`teola://` in text mode sends chunks as parts of messages."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from token_pair import Pair, ask

from backends.base import Chunk, Result, Turn
from backends.errors import RequestRejected
from backends.remote.client import Client
from backends.remote.dialects.teola import Teola
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.messages import parts_of, read_prompt
from backends.remote.open_chat_llm import OpenChatLLM
from backends.remote.url import parse_url
from teola.serving.app import make_app

HEAD = (Turn("user"), "Answer from these. ")
CHUNKS = tuple(map(Chunk, ("The sea is deep and cold here.", "A bell rang twice.", "Odd.")))
REST = (" What rang?", Turn("assistant"))
DECODE = {"max_tokens": 8, "ignore_eos": True}


async def text_engine(pair: Pair) -> OpenChatLLM:
    """Started, over the pair's server."""
    url = parse_url(f"teola://server:80/{pair.engines.served[0].name}")
    transport = httpx.ASGITransport(make_app(pair.engines))
    settings = RemoteLLMOptions(concurrency=4)
    client = Client(url.endpoints[0], settings, transport=transport)

    async def connect() -> Teola:
        return Teola(client, str(url.model))

    engine = OpenChatLLM(url, settings, client, connect)
    await engine.start()
    return engine


async def fused(engine: Any, *parts: Any, fusion: str = "reuse", **attrs: Any) -> Result:
    prefill = await ask(engine, "prefill", None, *parts, fusion=fusion)
    result: Result = await ask(engine, "decode", prefill.outputs[0], **{**DECODE, **attrs})
    return result


@pytest.mark.parametrize("head", [HEAD, ("Answer from these. ",)])
def test_a_fused_prompt_has_the_answer_of_the_embedded_engine(
    with_pair: Callable[..., None], head: tuple[Any, ...]
) -> None:
    async def work(pair: Pair) -> None:
        engine = await text_engine(pair)
        rest = REST if head is HEAD else REST[:1]
        assert "fusion" in engine.info.capabilities
        for chunks in (CHUNKS, CHUNKS[::-1]):
            local = await fused(pair.local, *head, *chunks, *rest)
            remote = await fused(engine, *head, *chunks, *rest)
            assert remote.outputs[0] == local.outputs[0]
            assert remote.usage.fused_tokens > 0
            assert remote.fusion is not None
            assert (remote.fusion.plan, remote.fusion.num_chunks) == ("reuse", 3)
        shown: list[str] = []
        streamed = await fused(engine, *head, *CHUNKS, *rest, n=2)
        assert streamed.fusion is not None
        prefill = await ask(engine, "prefill", None, *head, *CHUNKS, *rest, fusion="reuse")
        result = await ask(engine, "decode", prefill.outputs[0], emit=shown.append, **DECODE)
        assert "".join(shown) == result.outputs[0] == streamed.outputs[0][0]
        assert result.fusion is not None
        await engine.close()

    with_pair(work)


def test_a_conversation_goes_on_with_its_chunks_and_one_plan(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        engine = await text_engine(pair)
        head = (await ask(engine, "prefill", None, *HEAD)).outputs[0]
        first = await ask(engine, "prefill", head, *CHUNKS, *REST, fusion="reuse")
        said = await ask(engine, "decode", first.outputs[0], **DECODE)
        follow = (Turn("user"), Chunk("A gull cried."), " And then?", Turn("assistant"))
        later = await ask(engine, "prefill", said.outputs[1], *follow)
        answer = await ask(engine, "decode", later.outputs[0], **DECODE)
        assert answer.fusion.num_chunks == 3  # the last was not to be fused
        with pytest.raises(RequestRejected, match="one plan"):
            await ask(engine, "prefill", said.outputs[1], *follow, fusion="lego(4)")
        await engine.close()

    with_pair(work)


def test_without_fusion_a_chunk_is_its_text(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        engine = await text_engine(pair)
        marked = await ask(engine, "decode", None, *HEAD, *CHUNKS, *REST, **DECODE)
        plain = await ask(engine, "decode", None, *HEAD, "".join(CHUNKS), *REST, **DECODE)
        assert marked.outputs[0] == plain.outputs[0]
        assert marked.fusion is None
        await engine.close()

    with_pair(work)


@pytest.mark.parametrize("head", [HEAD, ("Answer from these. ",)])
def test_chunks_are_encoded_without_a_prompt(
    with_pair: Callable[..., None], head: tuple[Any, ...]
) -> None:
    async def work(pair: Pair) -> None:
        engine = await text_engine(pair)
        for num_new in (3, 0):
            assert (await ask(engine, "encode", None, *head, *CHUNKS)).outputs == (num_new,)
        assert (await ask(engine, "encode", None, *head)).outputs == (0,)
        rest = REST if head is HEAD else REST[:1]
        result = await fused(engine, *head, *CHUNKS[::-1], *rest)
        assert result.fusion is not None
        assert result.fusion.num_encoded == 0
        await engine.close()

    with_pair(work)


def test_chunks_encoded_behind_nothing_are_there_for_other_heads(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Pair) -> None:
        engine, plan = await text_engine(pair), "lego(4)+alone"
        assert (await ask(engine, "encode", None, *HEAD, *CHUNKS, fusion=plan)).outputs == (3,)
        other = (Turn("user"), "Say what these say. ")
        result = await fused(engine, *other, *CHUNKS[::-1], *REST, fusion=plan)
        assert result.fusion is not None
        assert result.fusion.num_encoded == 0
        with pytest.raises(RequestRejected, match="encode takes no attributes"):
            await ask(engine, "encode", None, *HEAD, *CHUNKS, stop="x")
        await engine.close()

    with_pair(work)


def test_a_server_without_fusion_is_not_asked_for_it(with_pair: Callable[..., None]) -> None:
    async def work(pair: Pair) -> None:
        engine = await text_engine(pair)
        assert "fusion" not in engine.info.capabilities
        with pytest.raises(RequestRejected, match="prefill takes no attribute 'fusion'"):
            await fused(engine, *HEAD, *CHUNKS, *REST)
        with pytest.raises(RequestRejected, match="does not offer KV cache fusion"):
            await ask(engine, "encode", None, *HEAD, *CHUNKS)
        await engine.close()

    with_pair(work, is_exact=True)


def test_parts_of_a_prompt_with_chunks_are_those_it_was_read_from() -> None:
    parts = (*HEAD, *CHUNKS, *REST)
    assert parts_of(read_prompt(parts)) == parts
    assert all(isinstance(part, Chunk) for part in parts_of(read_prompt(parts))[2:5])
