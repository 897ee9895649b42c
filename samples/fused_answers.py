"""Many questions over the same documents: each prompt reads passages that others have computed.

    run-graph samples/fused_answers.py:answers --files samples/data/sqlite \\
        --questions "Does SQLite need a server process?" "Is SQLite in the public domain?"
    run-graph samples/fused_answers.py:answers ... --fusion exact    # to compare

Passages come back in other places and orders, where a prefix cache finds nothing. With `reuse`
their KV is read wherever it stood, and of each passage only what the question looks at most is
computed again. Answers are not quite those of exact prompts: see docs/fusion.md. In a service,
`answers.encode_ahead(docs)` computes the passages before the first question comes.
"""

import teola as tl

llm = tl.LLM("local:smollm2-135m")
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))


@tl.prompt(
    llm, max_tokens=48, system="Answer the question from the passages, in one sentence.", stop="\n"
)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs, '[{i}] {text}', reuse='query(0.15)')}\n\nQuestion: {question}"


@tl.app
def answers(questions: list[str], files: list[str], k: int = 5) -> list[str]:
    """Answer questions from documents."""
    index = store.index(tl.split(tl.load(files), chunk_tokens=200, overlap=30))
    return tl.map(lambda question: answer(question, index.search(question, k=k)), questions)
