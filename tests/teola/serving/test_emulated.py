"""Emulated engines behind the server."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from backends.base import Request, Result, Turn
from backends.emulated.recorder import Recorder
from backends.fake.llm import FakeContext, FakeLLM
from teola.cli.serve_engine_command import make_engines
from teola.serving.app import make_app
from teola.serving.served_engines import ServedEngines

MESSAGES = [{"role": "user", "content": "Name a sea. " * 20}]


def talked(*calls: tuple[str, dict[str, Any] | None], **options: Any) -> list[httpx.Response]:
    """The answers of a server over an emulated LLM, embedder and reranker, one after another."""

    async def main() -> list[httpx.Response]:
        engines = make_engines(
            {
                "llm": "emulated:h100/llama-3.1-8b",
                "embedder": "emulated:h100/bge-large",
                "reranker": "emulated:h100/bge-reranker-large",
            },
            {"llm": {"tokenizer": "bytes", "output_tokens": 6, **options}},
        )
        served = ServedEngines(engines, max_queued=8)
        await served.start()
        transport = httpx.ASGITransport(make_app(served, None))
        answers = []
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            for path, body in calls:
                if body is None:
                    answers.append(await client.get(path))
                else:
                    answers.append(await client.post(path, json=body))
        await served.close()
        return answers

    return asyncio.run(main())


def test_a_chat_is_answered_and_its_prompt_cached() -> None:
    body = {"model": "llama-3.1-8b", "messages": MESSAGES}
    path = "/v1/chat/completions"
    first, second, metrics = talked((path, body), (path, body), ("/metrics", None))
    text = first.json()["choices"][0]["message"]["content"]
    assert text
    assert second.json()["choices"][0]["message"]["content"] == text
    usage = second.json()["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["prompt_tokens_details"]["cached_tokens"] > 200
    assert "teola_kv_num_pages 26674.0" in metrics.text
    assert "teola_recording_llm_missing_total 0.0" in metrics.text, "there is no recording"


def test_a_chat_is_streamed() -> None:
    body = {"messages": MESSAGES, "stream": True}
    (streamed,) = talked(("/v1/chat/completions", body))
    assert streamed.text.count("data: ") >= 6
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_embeddings_and_rankings_are_served() -> None:
    documents = ["a tree", "the blue sea"]
    vectors, ranking = talked(
        ("/v1/embeddings", {"input": ["one", "two"]}),
        ("/v1/rerank", {"query": "blue sea", "documents": documents}),
    )
    assert [len(row["embedding"]) for row in vectors.json()["data"]] == [1024, 1024]
    assert ranking.json()["results"][0]["index"] == 1
    assert vectors.json()["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert ranking.json()["usage"] == {"total_tokens": 16}


def test_clients_get_the_recorded_answers(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl")
    prompt = (None, Turn("system"), "Be brief.", Turn("user"), "Name a sea.", Turn("assistant"))
    request = Request("0" * 32, "decode", prompt, {"max_tokens": 90})
    recorder(request, Result(("The North Sea.", FakeContext("", FakeLLM("fake:", {})))))
    recorder.close()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a sea."},
    ]
    body = {"messages": messages, "max_tokens": 90, "temperature": 0}
    chat, metrics = talked(
        ("/v1/chat/completions", body),
        ("/metrics", None),
        recording=str(tmp_path / "run.jsonl"),
    )
    assert chat.json()["choices"][0]["message"]["content"] == "The North Sea."
    assert "teola_recording_llm_found_total 1.0" in metrics.text
    assert "teola_recording_llm_with_other_attrs_total 0.0" in metrics.text
