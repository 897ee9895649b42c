"""Retrieval-augmented generation with query expansion and reranking.

    run-graph samples/advanced_rag.py:rag --files samples/data/sqlite \\
        --question "Until which year do the developers intend to support SQLite?"

A model writes search queries, each is searched for, what they find is reranked against the
question, and the best passages answer it. Documents are indexed while the queries are written,
the answer's instructions are prefilled while retrieval runs, and the searches share batches.
"""

from typing import Annotated

from pydantic import BaseModel, Field

import teola as tl

llm = tl.LLM("local:smollm2-135m")
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))
reranker = tl.Reranker("local:maxsim")


class Queries(BaseModel):
    queries: list[Annotated[str, Field(max_length=60)]] = Field(min_length=3, max_length=3)


@tl.prompt(llm, out=Queries, max_tokens=128)
def expand(question: str) -> str:
    return f"Write three short search queries, in other words, for: {question}"


@tl.prompt(
    llm, max_tokens=48, system="Answer the question from the passages, in one sentence.", stop="\n"
)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs, '[{i}] {text}')}\n\nQuestion: {question}"


@tl.app
def rag(question: str, files: list[str], k: int = 2) -> str:
    """Answer a question from documents, searching for it in several ways."""
    index = store.index(tl.split(tl.load(files), chunk_tokens=200, overlap=30))
    found = tl.map(lambda query: index.search(query, k=8), expand(question).queries)
    return answer(question, reranker(question, tl.flatten(found, unique=True), k=k))
