"""A server that is killed gives typed errors, and works on when it is back."""

import asyncio
from typing import Any

import pytest
from live_server import Call, Engines, LiveServer

from backends.base import Turn
from backends.errors import EngineError, EngineUnavailable

pytestmark = [pytest.mark.server, pytest.mark.model]

ASK = (Turn("user"), "Name three rivers of France.", Turn("assistant"))
AGAIN = (Turn("user"), "And of Italy?", Turn("assistant"))
GREEDY = {"temperature": 0, "max_tokens": 12}
ENDLESS = {"max_tokens": 4000, "ignore_eos": True}


def test_a_killed_server_is_an_error_and_a_restarted_one_goes_on(
    vllm: LiveServer, engines: Engines
) -> None:
    if not isinstance(vllm, LiveServer):
        pytest.skip("the server is not ours to kill")

    async def scenario(call: Call) -> Any:
        before = await call("decode", None, *ASK, **GREEDY)
        has_text = asyncio.Event()
        cut = asyncio.create_task(
            call("decode", None, *ASK, **ENDLESS, emit=lambda _: has_text.set())
        )
        await asyncio.wait_for(has_text.wait(), 60)
        await asyncio.to_thread(vllm.kill)
        with pytest.raises(EngineError):
            await asyncio.wait_for(cut, 10)
        with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1"):
            await asyncio.wait_for(call("decode", None, *ASK, **GREEDY), 10)
        await asyncio.to_thread(vllm.start_again)
        after = await call("decode", None, *ASK, **GREEDY)
        assert after.outputs[0] == before.outputs[0]
        # A context of before is token ids: the server computes it anew.
        return (await call("decode", before.outputs[1], *AGAIN, **GREEDY)).outputs[0]

    assert engines.run(vllm.url, {"retries": 0}, scenario)
