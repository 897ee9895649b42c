"""The words of texts, as every store ranks them: lower case, no English stop words."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import bm25s

K1, B = 1.5, 0.75  # of BM25


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, in order; one that comes twice stands twice."""
    words: list[list[str]] = bm25s.tokenize(
        list(texts), return_ids=False, show_progress=False, allow_empty=False
    )
    return words


def count_words(texts: Sequence[str], num_bits: int) -> list[Counter[int]]:
    """How often each word is in each text; a word is a hash of so many bits, positive."""
    return [Counter(_hash(word, num_bits) for word in words) for words in words_of(texts)]


def query_words(query: str, num_bits: int) -> Counter[int]:
    """As `count_words` of a query: a text without a word has none, not an empty one."""
    (words,) = count_words([query], num_bits)
    (empty,) = count_words([""], num_bits)
    return words - empty


@lru_cache(100_000)
def _hash(word: str, num_bits: int) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - num_bits)
