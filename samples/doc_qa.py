"""Questions answered from documents, the plain way: split, embed, search, answer.

    run-graph samples/doc_qa.py:ask --question "Does SQLite need a separate server process?" \\
        --files samples/data/sqlite
"""

import teola as tl

llm = tl.LLM("local:smollm2-135m")
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))


@tl.prompt(
    llm, max_tokens=48, system="Answer the question from the passages, in one sentence.", stop="\n"
)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs, '[{i}] {text}')}\n\nQuestion: {question}"


@tl.app
def ask(question: str, files: list[str], k: int = 2) -> str:
    """Answer a question from documents."""
    passages = tl.split(tl.load(files), chunk_tokens=200, overlap=30)
    return answer(question, store.index(passages).search(question, k=k))
