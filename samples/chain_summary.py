"""A meeting summarized as a chain: each call rewrites the summary so far with the next part.

    run-graph samples/chain_summary.py:summarize

The chain itself cannot be cut short, but each call's instructions and its part of the meeting are
prefilled while the summary before it is still being written.
"""

from pathlib import Path

import teola as tl

FILES = [str(Path(__file__).parent / "data/qmsum/meeting.txt")]

llm = tl.LLM("local:smollm2-135m")


@tl.app
def summarize(files: list[str] = FILES, k: int = 4) -> str:
    """Summarize documents in k steps."""
    parts = tl.split(tl.load(files), chunk_tokens=256, overlap=0)
    return tl.synthesize(llm, None, parts, mode="refine", k=k, max_tokens=48)
