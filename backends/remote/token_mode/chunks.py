"""Chunks of a prompt, which a server reuses by one plan for all of them."""

from collections.abc import Iterator, Sequence
from typing import Any

from backends.base import Chunk, Part
from backends.llm.requests.open_turn import Open, ToolTurns
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.remote.token_mode.call import ChunkAt, Prompt


def encode_chunks(
    prompts: PromptEncoder, parts: Sequence[Part], turn: Open, num_before: int
) -> tuple[list[int], Open, list[ChunkAt]]:
    """The ids of `parts`, which stand behind `num_before` tokens, the turn that is then open, and
    where the chunks are. One that begins the prompt is its prefix, and one that the tools' template
    writes has other tokens than its text: both are no chunks to the server."""
    ids: list[int] = []
    chunks: list[ChunkAt] = []
    for part in parts:
        start = num_before + len(ids)
        is_plain = not isinstance(turn, ToolTurns) or turn.role in ("system", "user")
        new, turn = prompts.encode_more([part], turn, is_start=not start)
        ids += new
        if isinstance(part, Chunk) and start and is_plain:
            chunks.append(ChunkAt(start, start + len(new), part))
    return ids, turn, chunks


def pieces_of(prompt: Prompt) -> Iterator[dict[str, Any]]:
    """The prompt as teola's server takes it: its chunks as texts, all else as token ids."""
    ids, start = prompt.ids, 0
    for chunk in prompt.chunks:
        if chunk.start > start:
            yield {"type": "tokens", "tokens": list(ids[start : chunk.start])}
        yield {"type": "chunk", "text": chunk.text}
        start = chunk.end
    if start < len(ids):
        yield {"type": "tokens", "tokens": list(ids[start:])}
