"""`/metrics` of a server of engines keeps to Prometheus' conventions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from metrics_form import check_form, families_of, names_in, names_on, series_of

from backends.fake.llm import FakeLLM
from backends.llm.stats import CacheStats, SpeculationStats

DOCS = Path(__file__).parents[3] / "docs"
SAY = {"messages": [{"role": "user", "content": "tea"}], "max_tokens": 4}


class WithCaches(FakeLLM):
    """Tells what a local engine does."""

    def cache_stats(self) -> CacheStats:
        return CacheStats(pool_hit_tokens=3, num_pages=8)

    def speculation_stats(self) -> SpeculationStats:
        return SpeculationStats(guessed_tokens=2)


def busy_server(talk: Callable[..., Any]) -> Any:
    """One that has answered, refused and failed."""
    server = talk(llm=WithCaches("fake:talker", {}))
    assert server.post("/v1/chat/completions", SAY).status_code == 200
    server.events("/v1/chat/completions", SAY)
    server.post("/v1/embeddings", {"input": ["a"]})
    server.post("/v1/rerank", {"query": "a", "documents": ["b"]})
    server.post("/v1/chat/completions", {})
    server.post("/v1/chat/completions", {**SAY, "model": "nobody"})
    server.get("/v1/models")
    return server


def test_the_page_keeps_to_the_conventions(talk: Callable[..., Any]) -> None:
    server = busy_server(talk)
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    check_form(answer.text)
    families = families_of(answer.text)
    assert families["teola_time_to_first_token_seconds"].type == "histogram"
    assert families["teola_kv_pool_hit_tokens"].type == "counter"
    assert families["teola_kv_num_pages"].type == "gauge"
    assert "teola_kv_to_host_bytes" in families
    assert "teola_speculation_guessed_tokens" in families


def test_what_clients_name_makes_no_new_series(talk: Callable[..., Any]) -> None:
    server = busy_server(talk)
    server.get("/nothing/0")
    server.get("/v1/models/none0")
    server.post("/v1/completions", {"prompt": "a", "model": "none0", "max_tokens": 1})
    server.get("/metrics")  # which counts too
    before = series_of(server.get("/metrics").text)
    for number in range(1, 20):
        server.get(f"/nothing/{number}")
        server.get(f"/v1/models/none{number}")
        server.post("/v1/completions", {"prompt": "a", "model": f"none{number}", "max_tokens": 1})
        server.post("/v1/chat/completions", {**SAY, "user": f"u{number}"}, **{"x-request-id": "a"})
    assert series_of(server.get("/metrics").text) == before


def test_every_name_in_the_docs_is_on_the_page(talk: Callable[..., Any]) -> None:
    page = busy_server(talk).get("/metrics").text
    section = (DOCS / "observability.md").read_text().partition("## Prometheus")[2]
    ours = section.partition("### Apps")[0]
    assert names_in([ours]) <= names_on(page)
    assert len(names_in([ours])) > 15
