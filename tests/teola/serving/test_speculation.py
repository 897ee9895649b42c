"""Guessed tokens at the server: what the metrics say, and what a client may wish."""

from collections.abc import Callable, Sequence
from typing import Any

from backends.base import Outcome, Request
from backends.errors import EngineUnavailable
from backends.fake.llm import FakeLLM
from backends.llm.engine import LLMEngine
from backends.llm.stats import SpeculationStats
from teola.serving.kv_metrics import HasSpeculationStats

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


class GuessingLLM(FakeLLM):
    """Notes what decodes ask for."""

    def __init__(self) -> None:
        super().__init__("fake:talker", {})
        self.wishes: list[object] = []
        self.stats: SpeculationStats | None = None

    def speculation_stats(self) -> SpeculationStats:
        if self.stats is None:
            raise EngineUnavailable("not yet")
        return self.stats

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        self.wishes += [r.attrs.get("speculate") for r in requests if r.op == "decode"]
        return await super().execute(requests)


def test_the_embedded_engine_counts_its_guesses() -> None:
    engine = LLMEngine("tiny", 8, lambda: None)  # type: ignore[arg-type, return-value]
    assert isinstance(engine, HasSpeculationStats)


def test_guesses_show_in_the_metrics_once_the_engine_runs(talk: Callable[..., Any]) -> None:
    llm = GuessingLLM()
    server = talk(llm=llm)
    assert "teola_speculation" not in server.get("/metrics").text

    llm.stats = SpeculationStats(guessed_tokens=9, accepted_tokens=6, is_on=1)
    text = server.get("/metrics").text
    assert "\nteola_speculation_guessed_tokens_total 9.0\n" in text
    assert "\nteola_speculation_accepted_tokens_total 6.0\n" in text
    assert "\nteola_speculation_is_on 1.0\n" in text


def test_a_client_may_wish_for_guesses_or_for_none(talk: Callable[..., Any]) -> None:
    llm = GuessingLLM()
    server = talk(llm=llm)
    for fields in ({"speculate": True}, {"speculate": False}, {}):
        assert server.post(CHAT, {"messages": HELLO, **fields}).status_code == 200
    assert llm.wishes == [True, False, None]
