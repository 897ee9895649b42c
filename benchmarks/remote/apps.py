"""RAG apps with the settings of the Teola paper (ASPLOS'25, section 7).

Passages have 256 tokens. Naive RAG answers from three of them as a tree; advanced RAG expands the
question to three queries, fetches 16 passages for each, reranks them to three, and refines an
answer over those.
"""

import teola as tl
from samples.advanced_rag import expand, llm, reranker, store


@tl.app
def naive_rag(question: str, files: list[str]) -> str:
    """Answer a question from documents."""
    passages = tl.split(tl.load(files), chunk_tokens=256, overlap=30)
    found = store.index(passages).search(question, k=3)
    return tl.synthesize(llm, question, found, mode="tree", k=3, fanout=3, max_tokens=48)


@tl.app
def advanced_rag(question: str, files: list[str]) -> str:
    """Answer a question from documents, searching for it in several ways."""
    index = store.index(tl.split(tl.load(files), chunk_tokens=256, overlap=30))
    found = tl.map(lambda query: index.search(query, k=16), expand(question).queries)
    best = reranker(question, tl.flatten(found, unique=True), k=3)
    return tl.synthesize(llm, question, best, mode="refine", k=3, max_tokens=48)
