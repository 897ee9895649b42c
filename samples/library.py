"""Documents indexed by one app and asked by another: the usual shape of a service.

    run-graph samples/library.py:index --files samples/data/sqlite
    run-graph samples/library.py:ask --question "Does SQLite need a separate server process?"

The store is a folder, so the documents are there in the next process too. Indexing again writes
only what changed, and removes what changed or vanished files left behind.
"""

import teola as tl

llm = tl.LLM("local:smollm2-135m")
store = tl.Store("local:.library", embedder=tl.Embedder("local:all-minilm-l6-v2"))


@tl.prompt(
    llm, max_tokens=48, system="Answer the question from the passages, in one sentence.", stop="\n"
)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs, '[{i}] {text}')}\n\nQuestion: {question}"


@tl.app
def index(files: list[str]) -> int:
    """Index files and folders; how many passages the library holds then."""
    passages = tl.split(tl.load(files, on_error="skip"), chunk_tokens=200, overlap=30)
    store.index(passages, sync=True)
    return store.count()


@tl.app
def ask(question: str, k: int = 2) -> str:
    """Answer a question from everything that was indexed."""
    return answer(question, store.search(question, k=k))
