"""Contextual retrieval: a model says of each chunk what it is about before the chunk is indexed.

    run-graph samples/contextual_retrieval.py:ask \\
        --question "Until which year do the developers intend to support SQLite?"

Each chunk is read with its neighbours and gets a sentence of context; the chunks are indexed with
it, searched by vectors and words together, and reranked. The contexts of all chunks are written
side by side behind one shared head, and each chunk is embedded as soon as it has its own.
"""

from pathlib import Path

import teola as tl

FOLDER = Path(__file__).parent / "data/sqlite"
FILES = [str(FOLDER / name) for name in ("lts.md", "onefile.md")]

llm = tl.LLM("local:smollm2-135m")
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))
reranker = tl.Reranker("local:maxsim")


@tl.app
def ask(question: str, files: list[str] = FILES, k: int = 2) -> str:
    """Answer a question from documents whose chunks were put into context."""
    chunks = tl.split(tl.load(files), chunk_tokens=200, overlap=20)
    index = store.index(tl.contextualize(llm, chunks, neighbours=1, max_tokens=20, stop="\n"))
    found = tl.hybrid_search(index, question, k=k, fetch=8, reranker=reranker)
    return tl.synthesize(llm, question, found, max_tokens=48, stop="\n")
