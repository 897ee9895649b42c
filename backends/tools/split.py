"""Documents to passages of a bounded number of tokens, cut where the text has its joints."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from backends.documents import Doc, document_id
from backends.errors import RequestRejected
from backends.optional import optional_imports
from backends.registry import EngineSpec
from backends.text_check import check_texts
from backends.tools.passage_tokens import whole_tokenizer, window_of

_MARKDOWN = frozenset({".md", ".markdown"})
_BUILT_IN_MODEL = "gpt-4"  # its tokenizer, cl100k, is part of the splitter: nothing is downloaded
_LONGEST_CHARACTER = 4  # tokens: a character is never split


def split(
    docs: Sequence[Doc],
    chunk_tokens: int = 256,
    overlap: int = 32,
    tokenizer: Any = None,
    embedder: EngineSpec | None = None,
) -> list[Doc]:
    """Passages of at most `chunk_tokens`, neighbours sharing up to `overlap` tokens.

    Tokens are those of `tokenizer` (a `tokenizers.Tokenizer`, the path of a `tokenizer.json` or
    the URL of a local model). Without one they are those of `embedder`, which will read the
    passages, and none is longer than it reads (all-minilm-l6-v2: 254); without either, or where
    its tokens cannot be counted here, general-purpose ones (cl100k). A document whose source is
    Markdown is cut at its headings first. A passage has the id `PARENT:NUMBER`, its parent's
    metadata, and `parent`, `chunk` (from 0) and `offset` (in characters); a parent without an id is
    named after its content. Raises RequestRejected, DocumentError, and for a model ConfigError and
    EngineUnavailable.
    """
    _check(chunk_tokens, overlap)
    check_texts(doc.text for doc in docs)
    with optional_imports("documents"):
        from semantic_text_splitter import MarkdownSplitter, TextSplitter
    counting = None if tokenizer is None else whole_tokenizer(tokenizer)
    if counting is None and embedder is not None and (window := window_of(embedder)) is not None:
        counting = window.tokenizer
        chunk_tokens = min(chunk_tokens, window.most_tokens)
        overlap = min(overlap, chunk_tokens // 2)
    markdown = _splitter(MarkdownSplitter, chunk_tokens, overlap, counting)
    plain = _splitter(TextSplitter, chunk_tokens, overlap, counting)
    passages: list[Doc] = []
    for doc in docs:
        if _is_markdown(doc):
            places = _markdown_places(markdown, doc.text, overlap)
        else:
            places = plain.chunk_indices(doc.text)
        passages += _passages(doc, places)
    return passages


def _check(chunk_tokens: int, overlap: int) -> None:
    if chunk_tokens < _LONGEST_CHARACTER:
        raise RequestRejected(
            f"chunk_tokens must be {_LONGEST_CHARACTER} or more, got {chunk_tokens}: "
            "one character may take so many"
        )
    if not 0 <= overlap < chunk_tokens:
        raise RequestRejected(
            f"overlap must be from 0 to below chunk_tokens ({chunk_tokens}), got {overlap}"
        )


@lru_cache(maxsize=8)  # 20 to 70 ms each; a model's tokenizer is one object as long as it is used
def _splitter(kind: Any, chunk_tokens: int, overlap: int, tokenizer: Any) -> Any:
    if tokenizer is None:
        return kind.from_tiktoken_model(_BUILT_IN_MODEL, chunk_tokens, overlap)
    return kind.from_huggingface_tokenizer(tokenizer, chunk_tokens, overlap)


def _is_markdown(doc: Doc) -> bool:
    return Path(str(doc.metadata.get("source", ""))).suffix.lower() in _MARKDOWN


def _markdown_places(splitter: Any, text: str, overlap: int) -> Sequence[tuple[int, str]]:
    """In 0.33 `chunk_indices` panics on some overlapping Markdown with characters of several bytes,
    so the chunks of such a text are looked for: right, but for some repeated text in an overlap."""
    if overlap == 0 or text.isascii():
        places: Sequence[tuple[int, str]] = splitter.chunk_indices(text)
        return places
    chunks = splitter.chunks(text)
    return list(zip(_without_gaps(chunks, _first_places(chunks, text), text), chunks, strict=True))


def _first_places(chunks: Sequence[str], text: str) -> list[int]:
    """The first place of each chunk that ends after the one before, and begins no earlier than it,
    but for the white space that was cut off there."""
    starts: list[int] = []
    start = end = 0
    for chunk in chunks:
        while start > 0 and text[start - 1].isspace():
            start -= 1
        start = text.find(chunk, max(start, end + 1 - len(chunk)))
        assert start >= 0, "the splitter changed the text"
        end = start + len(chunk)
        starts.append(start)
    return starts


def _without_gaps(chunks: Sequence[str], starts: list[int], text: str) -> list[int]:
    """Later places, where text would be left out between a chunk and the next."""
    following = len(text)
    for i in reversed(range(len(chunks))):
        while text[starts[i] + len(chunks[i]) : following].strip():
            starts[i] = text.find(chunks[i], starts[i] + 1)
            assert starts[i] >= 0, "the splitter left text out"
        following = starts[i]
    return starts


def _passages(doc: Doc, places: Sequence[tuple[int, str]]) -> Iterator[Doc]:
    parent = document_id(doc)
    for number, (offset, chunk) in enumerate(places):
        metadata = {**doc.metadata, "parent": parent, "chunk": number, "offset": offset}
        yield Doc(chunk, f"{parent}:{number}", metadata=metadata)
