"""What an engine in token mode finds out when it starts."""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fault_server import Answer, FaultServer, Seen, as_json, nothing_left, refusing_port
from recorded_server import RecordedServer, ask, engine_at, recorded

from backends.base import EngineInfo
from backends.engine_load import EngineLoad, ReportsLoad
from backends.errors import ConfigError, EngineError, EngineUnavailable
from backends.remote.llm import make
from backends.remote.url import parse_url

CARDS = {"sglang": "/server_info", "vllm": "/v1/models"}


def info_at(scheme: str, tokenizer: Path, server: Mapping[str, Any], **options: Any) -> EngineInfo:
    """What an engine says of itself once it has started."""
    recording = {"exchanges": [], "server": server}

    async def main() -> EngineInfo:
        async with (
            nothing_left(),
            engine_at(scheme, RecordedServer(scheme, recording), tokenizer, **options) as (it, _),
        ):
            return it.info

    return asyncio.run(main())


def failure_at(scheme: str, tokenizer: Path, server: RecordedServer, model: str = "tiny") -> str:
    async def main() -> str:
        async with FaultServer(server.reply) as http:
            engine = make(parse_url(http.url(scheme, model)), {"tokenizer": str(tokenizer)})
            with pytest.raises(EngineUnavailable) as failure:
                await engine.start()
            await engine.close()
            return str(failure.value)

    return asyncio.run(main())


def test_capabilities_before_the_start_are_those_of_every_server(tiny_tokenizer: Path) -> None:
    options = {"tokenizer": str(tiny_tokenizer)}
    always = {"prefill", "generate", "warm_up", "fork", "decode_parts", "select", "token_ids"}
    sglang = make(parse_url("sglang://localhost/tiny"), options).info.capabilities
    vllm = make(parse_url("vllm://localhost/tiny"), options).info.capabilities
    teola = make(parse_url("teola://localhost/tiny"), options).info.capabilities
    assert always <= sglang & vllm & teola
    assert "shares_in_flight" not in sglang
    assert "shares_in_flight" in vllm & teola
    assert {"seed", "adapters"}.isdisjoint(sglang)
    assert "cached_tokens" in sglang & teola
    assert "cached_tokens" not in vllm
    assert "fusion" in teola
    assert "fusion" not in sglang | vllm
    assert "priorities" in sglang & vllm
    assert "priorities" not in teola  # it is told places
    options["order"] = "class"
    assert "priorities" not in make(parse_url("vllm://localhost/tiny"), options).info.capabilities
    with pytest.raises(ConfigError, match="order is for vllm:// and sglang://"):
        make(parse_url("teola://localhost/tiny"), options)


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ({}, set()),
        ({"enable_deterministic_inference": True}, {"seed"}),
        ({"lora_paths": ["json=/adapters/json"]}, {"adapters"}),
    ],
)
def test_sglang_says_what_its_start_allows(
    tiny_tokenizer: Path, server: dict[str, Any], found: set[str]
) -> None:
    info = info_at("sglang", tiny_tokenizer, {"/server_info": server})
    assert info.capabilities & {"seed", "adapters"} == found
    assert info.max_context_tokens == 512


def test_a_pool_below_the_context_is_the_limit(tiny_tokenizer: Path) -> None:
    server = {"/server_info": {"max_total_num_tokens": 200}}
    assert info_at("sglang", tiny_tokenizer, server).max_context_tokens == 200
    assert info_at("sglang", tiny_tokenizer, server, context_len=90).max_context_tokens == 90


def test_vllm_is_asked_one_token_to_learn_what_it_tells(tiny_tokenizer: Path) -> None:
    info = info_at("vllm", tiny_tokenizer, {})
    assert {"cached_tokens", "adapters", "seed"} <= info.capabilities
    assert info.max_context_tokens == 512


@pytest.mark.parametrize(
    ("named", "running", "says"),
    [
        ("sglang", "vllm", "looks like a vLLM server, not SGLang: write vllm://"),
        ("vllm", "sglang", "looks like a SGLang server, not vLLM: write sglang://"),
        ("teola", "vllm", "looks like a vLLM server, not teola: write vllm://"),
    ],
)
def test_a_server_of_another_kind_is_told_by_its_name(
    tiny_tokenizer: Path, named: str, running: str, says: str
) -> None:
    server = RecordedServer(running, {"exchanges": []})
    assert says in failure_at(named, tiny_tokenizer, server)


def test_a_vllm_that_answers_nothing_to_the_first_question_is_named(tiny_tokenizer: Path) -> None:
    server = RecordedServer("vllm", {"exchanges": []})

    def reply(seen: Seen) -> Answer:
        return as_json({"choices": []}) if seen.path == "/v1/completions" else server.reply(seen)

    async def main() -> None:
        async with FaultServer(reply) as http:
            engine = make(parse_url(http.url("vllm", "tiny")), {"tokenizer": str(tiny_tokenizer)})
            with pytest.raises(EngineError, match="/v1/completions: choices is empty"):
                await engine.start()
            await engine.close()

    asyncio.run(main())


def test_a_model_that_is_not_served_is_named(tiny_tokenizer: Path) -> None:
    for scheme in ("sglang", "vllm"):
        server = RecordedServer(scheme, {"exchanges": []})
        said = failure_at(scheme, tiny_tokenizer, server, model="huge")
        assert "tiny" in said
        assert "huge" in said


@pytest.mark.parametrize("scheme", ["sglang", "vllm"])
def test_a_tokenizer_that_is_not_the_servers_is_refused(
    tiny_tokenizer: Path, tmp_path: Path, scheme: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_tokenizer, other)
    content = json.loads((other / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["e"] = vocab["e"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    said = failure_at(scheme, other, RecordedServer(scheme, {"exchanges": []}))
    assert "the tokenizer given is not the server's" in said


def test_nobody_at_the_address_is_an_error_that_names_it(tiny_tokenizer: Path) -> None:
    port = refusing_port()
    options = {"tokenizer": str(tiny_tokenizer), "retries": 0}
    engine = make(parse_url(f"vllm://127.0.0.1:{port}/tiny"), options)

    async def main() -> None:
        async with nothing_left():
            with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{port}"):
                await engine.start()
            await engine.close()

    asyncio.run(main())


def test_an_engine_that_is_not_started_says_so(tiny_tokenizer: Path) -> None:
    engine = make(parse_url("vllm://localhost/tiny"), {"tokenizer": str(tiny_tokenizer)})
    outcome = asyncio.run(ask(engine, "prefill", None, "text"))
    assert isinstance(outcome, EngineUnavailable)
    assert "call start()" in str(outcome)


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [("sglang", EngineLoad(5, 2, 60, 0.25)), ("vllm", EngineLoad(3, 2, None, 0.25))],
)
def test_the_load_is_read_where_the_server_says_it(
    tiny_tokenizer: Path, scheme: str, wanted: EngineLoad
) -> None:
    async def main() -> EngineLoad:
        server = RecordedServer(scheme, {"exchanges": []})
        async with engine_at(scheme, server, tiny_tokenizer) as (engine, _):
            assert isinstance(engine, ReportsLoad)
            return await engine.load()

    assert asyncio.run(main()) == wanted


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("minilm", "neither a path here nor a model of the catalogue"),
        ("/no/such/folder", "neither a path here"),
    ],
)
def test_a_tokenizer_that_cannot_be_is_refused_at_once(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make(parse_url("vllm://localhost/tiny"), {"tokenizer": name})


def test_a_server_of_messages_takes_no_tokenizer(tiny_tokenizer: Path) -> None:
    with pytest.raises(ConfigError, match="openai:// engines send no tokens"):
        make(parse_url("openai://localhost:1/tiny"), {"tokenizer": str(tiny_tokenizer)})


def start_of(
    scheme: str, server: Mapping[str, Any], check: Callable[[Any], None], **options: Any
) -> None:
    """Start an engine of which no tokenizer is named."""

    async def main() -> None:
        recorded_server = RecordedServer(scheme, {"exchanges": [], "server": server})
        async with nothing_left(), FaultServer(recorded_server.reply) as http:
            engine = make(parse_url(http.url(scheme, "tiny")), options)
            assert "prefill" not in engine.info.capabilities
            assert "generate" in engine.info.capabilities
            try:
                await engine.start()
                check(engine)
            finally:
                await engine.close()

    asyncio.run(main())


def test_without_a_tokenizer_named_the_servers_folder_is_taken(tiny_tokenizer: Path) -> None:
    def is_in_token_mode(engine: Any) -> None:
        assert {"prefill", "select", "warm_up"} <= engine.info.capabilities

    path = str(tiny_tokenizer)
    start_of("sglang", {"/model_info": {"tokenizer_path": path}}, is_in_token_mode)
    cards = [{**card, "root": path} for card in recorded("vllm", "server")["/v1/models"]["data"]]
    start_of("vllm", {"/v1/models": {"data": cards}}, is_in_token_mode)


def test_without_a_tokenizer_here_messages_are_sent() -> None:
    def is_in_text_mode(engine: Any) -> None:
        assert "warm_up" not in engine.info.capabilities
        assert "tools" in engine.info.capabilities

    start_of("sglang", {}, is_in_text_mode)
    start_of("vllm", {}, is_in_text_mode)


def test_text_mode_may_be_asked_for(tiny_tokenizer: Path) -> None:
    engine = make(parse_url("vllm://localhost/tiny"), {"tokenizer": "server"})
    assert "tools" in engine.info.capabilities
    folder = make(parse_url(f"vllm://localhost/{tiny_tokenizer}"), {})
    assert "warm_up" in folder.info.capabilities
