"""Each query of a hybrid search is searched for while the next is written, in virtual time."""

import json
from typing import Any

import teola as tl
from backends.registry import EngineSpec
from graph_opt.pipeline import optimize
from runtime.clock import run_virtual
from runtime.events import EventLog
from runtime.layout import layout_of
from runtime.service import Runtime

# a word every second: the queries are complete at 2 s, 3 s and 4 s
WRITTEN = json.dumps({"queries": ["red", "green", "white"]})
OPTIONS: dict[str, dict[str, Any]] = {
    "llm": {"token_s": 1.0, "replies": {"sea": WRITTEN}},
    "reranker": {"latency_s": 0.1},
}

llm = tl.LLM("fake:")
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
reranker = tl.Reranker("fake:")


def starts(app: Any, op: str) -> list[float]:
    """When the primitives of one op start."""
    program = app._program_for((), {})
    specs = {
        name: EngineSpec(spec.kind, "fake:", OPTIONS.get(name, {}))
        for name, spec in program.engines.items()
    }
    log = EventLog()

    async def main() -> None:
        runtime, layout = Runtime(), layout_of(optimize(program.graph))
        inputs = {"question": "sea"}
        await runtime.run(layout, inputs, specs, program.symbols, listener=log)
        await runtime.close()

    run_virtual(main())
    return [event.t for event in log.events if event.kind == "start" and event.op == op]


@tl.tool(pure=True)
def three_docs(question: str) -> list[tl.Doc]:
    return [tl.Doc(text, text) for text in ("red", "green", "white")]


def test_every_search_starts_when_its_query_is_written_and_is_reranked_at_once() -> None:
    @tl.app
    def app(question: str) -> list[tl.Doc]:
        index = store.index(three_docs(question))
        return tl.hybrid_search(index, question, k=1, fetch=1, llm=llm, reranker=reranker)

    assert starts(app, "search") == [0.0, 2.0, 3.0, 4.0]
    assert starts(app, "rerank") == [0.0, 3.0, 4.0]


def test_the_question_itself_does_not_wait_for_the_other_queries() -> None:
    @tl.app
    def app(question: str) -> list[list[tl.Doc]]:
        index = store.index(three_docs(question))
        queries = tl.expand_queries(llm, question, 3, include_original=True)
        return tl.map(lambda query: index.search(query, k=1), queries)

    assert starts(app, "search") == [0.0, 2.0, 3.0, 4.0]
