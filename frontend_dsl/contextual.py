"""Contextual retrieval: each chunk of a document with a sentence on where in it the chunk stands.

After Anthropic, "Introducing Contextual Retrieval", 2024: a model reads the chunk and what is
around it, and what it writes is put before the chunk, so that both searches find it better.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from backends.documents import Doc
from frontend_dsl.ask import ask, check_count, check_instructions, check_llm
from frontend_dsl.components import LLM
from frontend_dsl.control import map_
from frontend_dsl.sampling import Sampling
from frontend_dsl.tools import tool
from frontend_dsl.tracer import tracing

SITUATE = (
    "You are given a passage of a document and the text around it. Say in one short sentence what "
    "the passage is about within the document, so that it is found by a search."
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A chunk with what the model reads about it."""

    chunk: Doc
    title: str
    around: str


def contextualize(
    llm: LLM,
    chunks: Sequence[Doc],
    *,
    neighbours: int | None = 1,
    instructions: str = SITUATE,
    **sampling: Unpack[Sampling],
) -> list[Doc]:
    """The chunks, each behind a sentence that places it in its document; one call a chunk.

    The model reads `neighbours` chunks of the same document before and after; None stands for the
    whole document, which is long, but the same for all its chunks, so that it is prefilled once.
    Ids stay; metadata gets `context`, what was written, and `original`, the chunk's own text.
    A sentence has at most `max_tokens` tokens, by default 48.
    """
    tracer = tracing("tl.contextualize")
    check_llm("tl.contextualize", llm)
    if neighbours is not None:
        check_count("tl.contextualize", "neighbours", neighbours, 0)
    check_instructions("tl.contextualize", instructions=instructions)

    def situate(place: Surroundings) -> Doc:
        chunk = place.chunk
        text = f"Document: {place.title}\n\n{place.around}\n\nPassage:\n{chunk}"
        context = ask(llm, "situate", instructions, text, **limits)
        return _in_context(chunk, context)

    limits = Sampling(max_tokens=48)
    limits.update(sampling)
    with tracer.call("contextualize"), tracer.inside():
        return map_(situate, surroundings(chunks, neighbours=neighbours))


@tool(pure=True)
def surroundings(chunks: Sequence[Doc], *, neighbours: int | None) -> list[Surroundings]:
    """Each chunk with its neighbours in the same document, in order; None for all of it."""
    documents: dict[str, list[Doc]] = {}
    for chunk in chunks:
        documents.setdefault(_parent(chunk), []).append(chunk)
    places: dict[str, int] = dict.fromkeys(documents, -1)
    found = []
    for chunk in chunks:
        parent = _parent(chunk)
        places[parent] += 1
        around = _around(documents[parent], places[parent], neighbours)
        found.append(Surroundings(chunk, str(chunk.metadata.get("title", "")), around))
    return found


@tool(pure=True, name="in_context")
def _in_context(chunk: Doc, context: str) -> Doc:
    context = " ".join(context.split())
    metadata = {**chunk.metadata, "context": context, "original": chunk.text}
    text = f"{context}\n\n{chunk.text}" if context else chunk.text
    return replace(chunk, text=text, metadata=metadata)


def _around(document: Sequence[Doc], place: int, neighbours: int | None) -> str:
    if neighbours is None:
        return "\n".join(doc.text for doc in document)
    before = document[max(0, place - neighbours) : place]
    after = document[place + 1 : place + 1 + neighbours]
    parts = [("Before it:", before), ("After it:", after)]
    return "\n\n".join("\n".join([head, *(d.text for d in docs)]) for head, docs in parts if docs)


def _parent(chunk: Doc) -> str:
    """What names the document that a chunk is of: `tl.split` says it; else where it was found."""
    return str(chunk.metadata.get("parent") or chunk.metadata.get("source") or "")
