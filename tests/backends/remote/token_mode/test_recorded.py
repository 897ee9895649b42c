"""What is sent to SGLang and vLLM, and what is made of their answers, by recordings that the
released versions' own definitions were followed for (tests/data/README.md)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from recorded_server import RecordedServer, ask, engine_at, recorded

from backends.base import Engine, Request, Result
from backends.errors import EngineError

RECORDINGS = [
    pytest.param(scheme, recording, id=f"{scheme}: {recording['name']}")
    for scheme in ("sglang", "vllm")
    for recording in recorded(scheme, "exchanges")
]


@pytest.mark.parametrize(("scheme", "recording"), RECORDINGS)
def test_a_request_is_sent_and_answered_as_recorded(
    scheme: str, recording: Any, tiny_tokenizer: Path
) -> None:
    server = RecordedServer(scheme, recording)

    async def main() -> tuple[Any, list[str], str]:
        async with (
            asyncio.timeout(60),
            engine_at(scheme, server, tiny_tokenizer) as (engine, http),
        ):
            shown: list[str] = []
            outcome = await run(engine, recording["request"], shown)
            return outcome, shown, f"http://{http.address}"

    outcome, shown, root = asyncio.run(main())
    assert server.wrong == []
    assert server.unasked == []
    check(outcome, recording, shown, root)


async def run(engine: Engine, request: Mapping[str, Any], shown: list[str]) -> Any:
    attrs = dict(request.get("attrs", {}))
    attrs["priority"] = request.get("priority", 0)
    if request.get("streams"):
        attrs["emit"] = shown.append
    if request["op"] == "generate":
        return await ask(engine, "generate", *request["parts"], **attrs)
    if request["op"] != "select":
        return await ask(engine, request["op"], None, *request["parts"], **attrs)
    context = (await ask(engine, "prefill", None, *request["parts"])).outputs[0]
    return await ask(engine, "select", context, request["choices"], **attrs)


def check(outcome: Any, recording: Mapping[str, Any], shown: list[str], root: str) -> None:
    wanted, op = recording["outcome"], recording["request"]["op"]
    if "error" in wanted:
        assert isinstance(outcome, EngineError), outcome
        assert type(outcome).__name__ == wanted["error"]
        assert wanted["says"].replace("{root}", root) in str(outcome)
        return
    assert isinstance(outcome, Result), outcome
    usage = outcome.usage
    assert [usage.prefill_tokens, usage.cached_tokens, usage.decode_tokens] == wanted["usage"]
    if "emitted" in wanted:
        assert shown == wanted["emitted"]
    if op in ("decode", "generate"):
        check_output(outcome, wanted)
    if op == "select":
        assert outcome.outputs[:2] == (wanted["choice"], wanted["scores"])
    if "ids" in wanted:
        assert outcome.outputs[-1].ids == [39, 68, 75, 75, 78, 30, *wanted["ids"]]


def check_output(outcome: Result, wanted: Mapping[str, Any]) -> None:
    assert outcome.outputs[0] == wanted.get("texts", wanted.get("text"))
    assert outcome.finish_reason == wanted["finish"]
    assert outcome.samples[0].stop == wanted.get("stop")
    if "logprobs" in wanted:
        found = [
            [t.id, t.logprob, [[o.id, None if o.logprob < -1e9 else o.logprob] for o in t.top]]
            for t in outcome.samples[0].logprobs
        ]
        assert found == wanted["logprobs"]


def test_a_request_keeps_its_own_id_at_the_server(tiny_tokenizer: Path) -> None:
    for scheme, field in (("sglang", "rid"), ("vllm", "request_id")):
        recording = recorded(scheme, "exchanges")[0]
        server = RecordedServer(scheme, recording)

        async def main(scheme: str, server: RecordedServer) -> None:
            async with engine_at(scheme, server, tiny_tokenizer) as (engine, _):
                request = Request("ab" * 16, "decode", (None, "Hello?"), {"max_tokens": 8})
                await engine.execute([request])

        asyncio.run(main(scheme, server))
        assert server.asked[0][field] == "ab" * 16
