"""Embeddings, reranking, models, health and metrics over scripted engines."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backends.fake.retrieval import embed_text
from teola.serving.metrics import AnswerMeter, Metrics

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def metrics_of(server: Any) -> dict[str, float]:
    """Samples by name, with their labels' values: requests_total:/health:200."""
    found = {}
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            found[":".join((sample.name, *sample.labels.values()))] = sample.value
    return found


def test_embeddings_keep_the_order_of_their_texts(talk: Callable[..., Any]) -> None:
    body = talk().post("/v1/embeddings", {"input": ["a cat", "a dog"], "model": "vectors"}).json()

    assert [item["index"] for item in body["data"]] == [0, 1]
    np.testing.assert_allclose(body["data"][1]["embedding"], embed_text("a dog"), rtol=1e-6)
    assert body["model"] == "vectors"


def test_base64_holds_the_same_floats(talk: Callable[..., Any]) -> None:
    body = {"input": "a cat", "encoding_format": "base64"}
    text = talk().post("/v1/embeddings", body).json()["data"][0]["embedding"]

    vector = np.frombuffer(base64.b64decode(text), "<f4")
    np.testing.assert_array_equal(vector, embed_text("a cat"))


def test_fewer_dimensions_are_the_first_ones_of_unit_length(talk: Callable[..., Any]) -> None:
    body = {"input": "a cat and a dog", "dimensions": 40}
    vector = np.array(talk().post("/v1/embeddings", body).json()["data"][0]["embedding"])

    first = embed_text("a cat and a dog")[:40]
    np.testing.assert_allclose(vector, first / np.linalg.norm(first), rtol=1e-6)


def test_an_input_whose_end_is_not_read_is_marked(talk: Callable[..., Any]) -> None:
    server = talk(embedder_options={"max_words": 2})
    body = server.post("/v1/embeddings", {"input": ["a cat", "a dog barks"]}).json()

    assert [item.get("truncated", False) for item in body["data"]] == [False, True]
    assert body["warning"].startswith("1 of 2 inputs have more tokens than the model reads")
    assert "warning" not in server.post("/v1/embeddings", {"input": "a cat"}).json()


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [[1, 2]]}, "input"),  # the scripted engine has no token ids
        ({"dimensions": 65}, "dimensions"),
        ({"dimensions": 10**400}, "dimensions"),
    ],
)
def test_a_wrong_embedding_request_names_its_field(
    talk: Callable[..., Any], wrong: dict[str, Any], param: str
) -> None:
    answer = talk().post("/v1/embeddings", {"input": "x", **wrong})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_reranking_says_where_each_passage_stood(talk: Callable[..., Any]) -> None:
    documents = ["a dog", {"text": "a black cat"}, "a cat"]
    body = talk().post("/v1/rerank", {"query": "a cat", "documents": documents}).json()

    assert [item["index"] for item in body["results"]] == [2, 1, 0]
    assert body["results"][0]["document"] == {"text": "a cat"}
    scores = [item["relevance_score"] for item in body["results"]]
    assert scores == sorted(scores, reverse=True)


def test_reranking_may_return_only_the_best_places(talk: Callable[..., Any]) -> None:
    fields = {"query": "cat", "documents": ["dog", "cat"], "top_n": 1, "return_documents": False}
    body = talk().post("/v1/rerank", fields).json()

    (only,) = body["results"]
    assert only["index"] == 1
    assert "document" not in only


def test_a_number_beyond_all_lists_is_refused(talk: Callable[..., Any]) -> None:
    for path, body, param in (
        ("/v1/rerank", {"query": "cat", "documents": ["dog"], "top_n": 10**400}, "top_n"),
        ("/detokenize", {"tokens": [10**400]}, "tokens.0"),
    ):
        answer = talk().post(path, body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


def test_texts_of_several_clients_are_at_the_engine_at_once(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk()
    engine = server.engines.find("embedder", None).engine
    arrived: list[str] = []
    all_here = asyncio.Event()
    execute = engine.execute

    async def when_all_are_here(requests: Any) -> Any:
        arrived.extend(request.id for request in requests)
        if len(arrived) == 3:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 60)
        return await execute(requests)

    monkeypatch.setattr(engine, "execute", when_all_are_here)
    answers = server.post_all("/v1/embeddings", [{"input": ["a"] * 64}] * 3)  # a batch each

    assert [answer.status_code for answer in answers] == [200] * 3


def test_a_failure_of_an_embedder_or_a_reranker_is_told(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk()
    for kind, path, body in (
        ("embedder", "/v1/embeddings", {"input": "a"}),
        ("reranker", "/v1/rerank", {"query": "a", "documents": ["a"]}),
    ):
        engine = server.engines.find(kind, None).engine
        monkeypatch.setattr(engine, "options", {"fail": {"embed": "no", "rerank": "no"}})
        answer = server.post(path, body)
        assert (answer.status_code, answer.json()["error"]["message"]) == (500, "no")


def test_the_models_are_listed_and_found_by_name_or_url(talk: Callable[..., Any]) -> None:
    server = talk(max_context_tokens=100)

    cards = server.get("/v1/models").json()["data"]
    assert [card["id"] for card in cards] == ["talker", "vectors", "ranker"]
    assert cards[0]["max_model_len"] == 100
    assert server.get("/v1/models/talker").json() == cards[0]
    assert server.get("/v1/models/fake:talker").json() == cards[0]
    assert server.get("/v1/models/other").status_code == 404


def test_metrics_count_requests_and_tokens(talk: Callable[..., Any]) -> None:
    server = talk(replies={"hello": "one two three"})
    usage = server.post(CHAT, {"messages": HELLO}).json()["usage"]
    server.events(CHAT, {"messages": HELLO, "n": 2})
    server.post(CHAT, {})

    found = metrics_of(server)
    assert found[f"teola_requests_total:{CHAT}:200"] == 2
    assert found[f"teola_requests_total:{CHAT}:400"] == 1
    assert found["teola_prefilled_tokens_total"] == 2 * usage["prompt_tokens"]
    assert found["teola_decoded_tokens_total"] == 9
    assert found["teola_cached_tokens_total"] == 0
    assert found["teola_num_requests_waiting"] == 0
    assert found["teola_num_requests_running"] == 0
    assert found["teola_time_to_first_token_seconds_count"] == 3
    assert found["teola_inter_token_latency_seconds_count"] == 6
    assert found["teola_e2e_request_latency_seconds_count"] == 3


def test_metrics_count_our_own_mistakes(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk()
    monkeypatch.setattr(server.llm, "execute", lambda requests: 1 / 0)
    assert server.post(CHAT, {"messages": HELLO}).status_code == 500

    assert metrics_of(server)[f"teola_requests_total:{CHAT}:500"] == 1


def test_a_failed_answer_leaves_no_gauge_up(talk: Callable[..., Any]) -> None:
    server = talk(fail={"decode": "no"})
    server.post(CHAT, {"messages": HELLO})

    found = metrics_of(server)
    assert found["teola_num_requests_waiting"] == 0
    assert found["teola_e2e_request_latency_seconds_count"] == 0


def test_a_piece_that_comes_after_its_answer_was_aborted_counts_nowhere() -> None:
    metrics = Metrics()
    meter = AnswerMeter(metrics)
    meter.end(is_whole=False)
    meter.piece()

    text = metrics.text().decode()
    assert "teola_num_requests_waiting 0.0" in text
    assert "teola_num_requests_running 0.0" in text
    assert "teola_time_to_first_token_seconds_count 0.0" in text


def test_unknown_paths_do_not_make_new_series(talk: Callable[..., Any]) -> None:
    server = talk()
    for number in range(3):
        server.get(f"/v1/nothing{number}")

    assert metrics_of(server)["teola_requests_total:other:404"] == 3


def test_an_engine_without_a_tokenizer_says_so(talk: Callable[..., Any]) -> None:
    answer = talk().post("/tokenize", {"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
