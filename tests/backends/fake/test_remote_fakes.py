"""A fake with the capabilities of a server: what stays with the client and what is computed."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backends.base import Outcome, Request, Result, Usage
from backends.errors import ConfigError, RequestRejected
from backends.fake.capabilities import REMOTE
from backends.fake.factory import create
from backends.fake.llm import FakeLLM
from backends.fake.prefix_cache import MAX_PROMPTS, PrefixCache
from runtime.clock import run_virtual

HEAD = "one two three four"


def fake(**options: Any) -> FakeLLM:
    engine = create("llm", "fake:", {"prefill_token_s": 1.0, **options})
    assert isinstance(engine, FakeLLM)
    return engine


def ok(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


async def do(engine: FakeLLM, op: str, *inputs: Any, **attrs: Any) -> Result:
    (outcome,) = await engine.execute([Request("r", op, inputs, attrs)])
    return ok(outcome)


async def timed(engine: FakeLLM, op: str, *inputs: Any, **attrs: Any) -> tuple[Result, float]:
    began_s = asyncio.get_running_loop().time()
    result = await do(engine, op, *inputs, **attrs)
    return result, asyncio.get_running_loop().time() - began_s


def test_a_whole_prompt_is_answered_as_its_prefill_and_decode_are() -> None:
    async def main() -> None:
        whole = await do(fake(capabilities="api"), "generate", HEAD)
        engine = fake()
        filled = await do(engine, "prefill", None, HEAD)
        assert (await do(engine, "decode", *filled.outputs)).outputs[0] == whole.outputs[0]
        assert len(whole.outputs) == 1
        assert whole.usage == Usage(prefill_tokens=4, decode_tokens=3)

    run_virtual(main())


def test_several_samples_are_those_of_their_seeds() -> None:
    async def main() -> None:
        engine = fake(capabilities="api")
        hot: dict[str, Any] = {"temperature": 1.0}
        three = await do(engine, "generate", HEAD, **hot, seed=5, n=3)
        singles = [await do(engine, "generate", HEAD, **hot, seed=5 + i) for i in range(3)]
        assert three.outputs[0] == [single.outputs[0] for single in singles]
        assert three.usage.decode_tokens == 9

    run_virtual(main())


def test_an_engine_without_generate_refuses_whole_prompts() -> None:
    (outcome,) = asyncio.run(fake().execute([Request("r", "generate", (HEAD,))]))
    assert isinstance(outcome, RequestRejected)


def test_a_prefill_stays_with_the_client_and_its_decode_pays_for_all() -> None:
    async def main() -> None:
        engine = fake(capabilities="sglang")
        filled, took_s = await timed(engine, "prefill", None, HEAD)
        assert (took_s, filled.usage) == (0.0, Usage())
        decoded, took_s = await timed(engine, "decode", *filled.outputs, " five")
        assert (took_s, decoded.usage.prefill_tokens) == (5.0, 5)

    run_virtual(main())


def test_a_prefill_that_runs_ahead_is_found_in_the_cache() -> None:
    async def main() -> None:
        engine = fake(capabilities="sglang")
        filled, took_s = await timed(engine, "prefill", None, HEAD, ahead=True)
        assert (took_s, filled.usage) == (4.0, Usage(prefill_tokens=4))
        decoded, took_s = await timed(engine, "decode", *filled.outputs, " five")
        assert took_s == 1.0
        assert (decoded.usage.prefill_tokens, decoded.usage.cached_tokens) == (1, 4)
        assert [op for ((op, _),) in engine.journal] == ["prefill ahead", "decode"]

    run_virtual(main())


def computed(capabilities: str | Sequence[str]) -> int:
    """Prompt tokens computed for three prompts that come at once and begin alike."""

    async def main() -> int:
        engine = fake(capabilities=capabilities)
        await asyncio.gather(*(do(engine, "decode", None, f"{HEAD} {i}") for i in range(3)))
        return engine.num_computed_tokens

    return run_virtual(main())


def test_prompts_in_flight_share_what_they_begin_with_where_the_server_does_so() -> None:
    assert computed("sglang") == 3 * 5
    assert computed("vllm") == 4 + 3


def test_a_server_that_does_not_tell_of_its_cache_reports_all_tokens() -> None:
    async def main() -> None:
        engine = fake(capabilities="api")
        await do(engine, "generate", HEAD)
        again, took_s = await timed(engine, "generate", HEAD)
        assert (took_s, again.usage.prefill_tokens, again.usage.cached_tokens) == (0.0, 4, 0)

    run_virtual(main())


def test_what_waits_for_a_prompt_in_flight_is_computed_behind_it() -> None:
    cache = PrefixCache(1.0, shares_in_flight=True)
    assert cache.compute(["a", "b"], 0.0).until_s == 2.0
    assert cache.compute(["a", "b"], 1.0).until_s == 2.0
    assert cache.compute(["a", "b", "c"], 1.0).until_s == 3.0


def test_the_cache_forgets_the_oldest_prompts() -> None:
    cache = PrefixCache(1.0, shares_in_flight=False)
    for number in range(MAX_PROMPTS + 1):
        cache.keep([str(number)], 0.0)
    assert cache.compute(["0"], 1.0).num_cached == 0
    assert cache.compute(["2"], 1.0).num_cached == 1


def test_it_streams_only_if_it_says_so() -> None:
    def pieces(*capabilities: str) -> list[str]:
        told: list[str] = []
        request = Request("r", "generate", (HEAD,), emit=told.append)
        asyncio.run(fake(capabilities=capabilities, prefill_token_s=0).execute([request]))
        return told

    assert len(pieces("generate", "stream")) == 3
    assert pieces("generate") == []


def test_the_url_may_name_the_set() -> None:
    for name, able in REMOTE.items():
        assert create("llm", f"fake:{name}", {}).info.capabilities == able
    assert "warm_up" not in create("llm", "fake:anything else", {}).info.capabilities


@pytest.mark.parametrize("given", ["sglong", ["generate", "think"]])
def test_unknown_capabilities_are_refused_with_the_known_ones(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"known: .*warm_up.*api, sglang, vllm"):
        fake(capabilities=given)
