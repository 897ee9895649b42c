"""A meeting summarized by map and reduce: each part by itself, then the summaries together.

    run-graph samples/map_reduce_summary.py:summarize

The parts are summarized in one batch, behind one head that all of them share.
"""

from pathlib import Path

import teola as tl

FILES = [str(Path(__file__).parent / "data/qmsum/meeting.txt")]

llm = tl.LLM("local:smollm2-135m")


@tl.app
def summarize(files: list[str] = FILES) -> str:
    """Summarize documents of any length."""
    parts = tl.split(tl.load(files), chunk_tokens=512, overlap=0)
    return tl.synthesize(llm, None, parts, mode="map_reduce", part_tokens=24, max_tokens=48)
