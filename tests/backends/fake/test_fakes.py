"""The fake engines: deterministic, scripted, and honest about what they were told to do."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter

from backends.base import Context, Outcome, Request, Result, Turn
from backends.documents import Doc, Index
from backends.errors import ConfigError, EngineError, RequestRejected, RequestTooLong
from backends.fake.factory import create
from backends.registry import EngineSpec
from backends.registry import create as create_engine


def run(kind: str, requests: list[Request], **options: Any) -> list[Outcome]:
    return asyncio.run(create(kind, "fake:", options).execute(requests))


def ok(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def say(prompt: str, attrs: dict[str, Any] | None = None, **options: Any) -> Result:
    async def main() -> Result:
        engine = create("llm", "fake:", options)
        (filled,) = await engine.execute(
            [Request("p", "prefill", (None, Turn("user"), prompt, Turn("assistant")))]
        )
        (decoded,) = await engine.execute([Request("d", "decode", ok(filled).outputs, attrs or {})])
        return ok(decoded)

    return asyncio.run(main())


def test_the_same_prompt_gets_the_same_reply_and_another_prompt_another() -> None:
    assert say("a").outputs[0] == say("a").outputs[0]
    assert say("a").outputs[0] != say("b").outputs[0]


def test_another_seed_gives_another_reply() -> None:
    hot = {"temperature": 1.0}
    assert say("a", {**hot, "seed": 1}).outputs[0] != say("a", {**hot, "seed": 2}).outputs[0]


def test_a_scripted_reply_is_chosen_by_the_prompt() -> None:
    assert say("what is 2+2?", replies={r"2\+2": "four"}).outputs[0] == "four"


class Nested(BaseModel):
    name: str
    tags: list[str]
    score: int
    ok: bool


@pytest.mark.parametrize("type_", [Nested, list[int], int, bool, dict[str, Any], list[Nested]])
def test_with_a_schema_the_reply_is_a_valid_document(type_: Any) -> None:
    adapter = TypeAdapter(type_)
    reply = say("x", {"schema": adapter.json_schema()}).outputs[0]
    value = adapter.validate_json(reply, strict=True)
    assert adapter.validate_json(adapter.dump_json(value)) == value


def test_max_tokens_cuts_the_reply_and_says_so() -> None:
    result = say("x", {"max_tokens": 2}, replies={"": "one two three"})
    assert result.outputs[0] == "one two "
    assert result.finish_reason == "length"


def test_contexts_are_the_protocols_and_releasing_twice_is_safe() -> None:
    context = say("x").outputs[1]
    assert isinstance(context, Context)
    context.release()
    context.release()


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    request = Request("p", "prefill", (None, "one two three"))
    (outcome,) = run("llm", [request], max_context_tokens=2)
    assert isinstance(outcome, RequestTooLong)


def test_search_finds_the_document_with_the_same_words() -> None:
    async def main() -> list[Doc]:
        embedder, store = create("embedder", "fake:", {}), create("store", "fake:", {})
        docs = [Doc("the sea is blue", "a"), Doc("grass is green", "b")]
        (vectors,) = await embedder.execute([Request("1", "embed", (docs,))])
        (index,) = await store.execute([Request("2", "ingest", (docs, *ok(vectors).outputs))])
        (goal,) = await embedder.execute([Request("3", "embed", ("green grass",))])
        inputs = (*ok(index).outputs, "green grass", *ok(goal).outputs)
        (hits,) = await store.execute([Request("4", "search", inputs, {"k": 1})])
        found: list[Doc] = ok(hits).outputs[0]
        return found

    assert [doc.id for doc in asyncio.run(main())] == ["b"]


def ingest_and_search(kind: str, *ingests: list[Doc]) -> list[list[tuple[str, str]]]:
    """Ids and texts that a search finds: in the index of each ingest, then in the whole store."""
    vector = np.ones(4, np.float32) / 2

    async def main() -> list[list[tuple[str, str]]]:
        store = create_engine(EngineSpec("store", kind, {}))
        await store.start()
        indexes: list[Index | None] = []
        for docs in ingests:
            vectors = np.stack([vector] * len(docs))
            (outcome,) = await store.execute([Request("i", "ingest", (docs, vectors))])
            indexes.append(ok(outcome).outputs[0])
        found = []
        for index in (*indexes, None):
            (outcome,) = await store.execute([Request("s", "search", (index, "x", vector))])
            found.append([(doc.id, doc.text) for doc in ok(outcome).outputs[0]])
        await store.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["fake:", "local:"])
def test_an_index_keeps_its_documents_as_they_were_and_the_store_shows_the_newest(
    kind: str,
) -> None:
    first, again, all_ = ingest_and_search(
        kind, [Doc("old", "a"), Doc("other", "b")], [Doc("twice", "a"), Doc("new", "a")]
    )
    assert first == [("a", "old"), ("b", "other")]
    assert again == [("a", "new")]
    assert all_ == [("b", "other"), ("a", "new")]


def test_documents_without_an_id_get_the_one_of_the_real_store() -> None:
    docs = [Doc("x y"), Doc("x y"), Doc("z")]
    assert ingest_and_search("fake:", docs) == ingest_and_search("local:", docs)


def test_an_index_of_another_store_is_refused() -> None:
    request = Request("1", "search", (Index("fake", ("b",)), "x", None))
    (outcome,) = run("store", [request])
    assert isinstance(outcome, RequestRejected)
    assert "no document 'b'" in str(outcome)


def test_vectors_are_of_unit_length() -> None:
    (outcome,) = run("embedder", [Request("1", "embed", (["a b c", "d"],))])
    assert np.allclose(np.linalg.norm(ok(outcome).outputs[0], axis=1), 1.0)


def test_a_scripted_failure_hits_its_op_only() -> None:
    (outcome,) = run("embedder", [Request("1", "embed", ("x",))], fail={"embed": "no memory"})
    assert isinstance(outcome, EngineError)
    (outcome,) = run("embedder", [Request("1", "embed", ("x",))], fail={"search": "no memory"})
    ok(outcome)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown option 'speed'.*latency_s"):
        create("llm", "fake:", {"speed": 3})


def test_the_registry_makes_them_by_url() -> None:
    assert create_engine(EngineSpec("llm", "fake:")).info.kind == "llm"


def test_the_journal_tells_what_ran_in_which_batch() -> None:
    async def main() -> int:
        from backends.fake.engine import FakeEngine

        engine = create("embedder", "fake:", {})
        assert isinstance(engine, FakeEngine)
        await engine.execute([Request("1", "embed", ("x",)), Request("2", "embed", ("y",))])
        return len(engine.journal[0])

    assert asyncio.run(main()) == 2


def test_structured_replies_are_json_even_without_a_script() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
    assert json.loads(say("x", {"schema": schema}).outputs[0]) == {"a": "x"}
