"""What an LLM engine may offer beside the protocol: adapters as models, cache salts, KV metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from backends.base import Outcome, Request
from backends.errors import ConfigError, EngineUnavailable
from backends.fake.llm import FakeLLM
from backends.llm.engine import LLMEngine
from teola.serving.kv_metrics import HasCacheStats
from teola.serving.served import HasAdapters, short_name
from teola.serving.tokenizing import HasTokenizer

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Stats:
    evicted_pages: int = 3
    free_pages: int = 5


class AdaptedLLM(FakeLLM):
    """Notes the attributes of all requests."""

    def __init__(self) -> None:
        super().__init__("fake:talker", {})
        self.attrs: list[tuple[str, dict[str, Any]]] = []
        self.folders: dict[str, str] = {}
        self.stats: Stats | None = None

    @property
    def adapter_names(self) -> tuple[str, ...]:
        return tuple(self.folders)

    async def load_adapter(self, name: str, folder: str) -> None:
        self.folders[name] = folder

    def cache_stats(self) -> Stats:
        if self.stats is None:
            raise EngineUnavailable("not yet")
        return self.stats

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        self.attrs += [(request.op, dict(request.attrs)) for request in requests]
        return await super().execute(requests)


def test_the_embedded_engine_offers_all_of_it() -> None:
    engine = LLMEngine("tiny", 8, lambda: None)  # type: ignore[arg-type, return-value]

    for offer in (HasTokenizer, HasAdapters, HasCacheStats):
        assert isinstance(engine, offer)
    assert not isinstance(FakeLLM("fake:", {}), HasTokenizer | HasAdapters | HasCacheStats)


def test_an_adapter_is_a_model_of_its_own(talk: Callable[..., Any]) -> None:
    llm = AdaptedLLM()
    server = talk(llm=llm, adapters={"terse": "adapters/terse"})

    body = server.post(CHAT, {"messages": HELLO, "model": "terse"}).json()

    assert llm.folders == {"terse": "adapters/terse"}
    assert body["model"] == "terse"
    assert [attrs["adapter"] for _, attrs in llm.attrs] == ["terse", "terse"]
    card = server.get("/v1/models/terse").json()
    assert (card["id"], card["parent"]) == ("terse", "talker")


def test_the_base_model_runs_without_an_adapter(talk: Callable[..., Any]) -> None:
    llm = AdaptedLLM()
    server = talk(llm=llm, adapters={"terse": "adapters/terse"})

    assert server.post(CHAT, {"messages": HELLO}).json()["model"] == "talker"
    assert all("adapter" not in attrs for _, attrs in llm.attrs)


def test_an_engine_without_adapters_takes_none(talk: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="takes no LoRA adapters"):
        talk(adapters={"terse": "adapters/terse"})


def test_a_cache_salt_goes_with_prompt_and_answer(talk: Callable[..., Any]) -> None:
    llm = AdaptedLLM()
    talk(llm=llm).post(CHAT, {"messages": HELLO, "cache_salt": "tenant"})

    assert [(op, attrs["cache_salt"]) for op, attrs in llm.attrs] == [
        ("prefill", "tenant"),
        ("decode", "tenant"),
    ]


def test_the_cache_shows_in_the_metrics_once_the_engine_runs(talk: Callable[..., Any]) -> None:
    llm = AdaptedLLM()
    server = talk(llm=llm)
    assert "teola_kv" not in server.get("/metrics").text

    llm.stats = Stats()
    text = server.get("/metrics").text
    assert "\nteola_kv_evicted_pages_total 3.0\n" in text
    assert "\nteola_kv_free_pages 5.0\n" in text


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("local:smollm2-135m", "smollm2-135m"),
        ("local:/models/tiny.gguf", "tiny"),
        ("hf:org/name", "name"),
        ("emulated:h100/llama-3.1-8b?output_tokens=9", "llama-3.1-8b"),
        ("fake:", "fake:"),
    ],
)
def test_a_model_is_called_by_the_end_of_its_url(url: str, name: str) -> None:
    assert short_name(url) == name
