"""Searching in several ways: query expansion, rank fusion, and hybrid search made of them."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Unpack, cast

from backends.documents import Doc
from frontend_dsl.ask import ask, check_count, check_instructions, check_llm
from frontend_dsl.components import LLM
from frontend_dsl.control import map_
from frontend_dsl.errors import TraceError
from frontend_dsl.functions import flatten
from frontend_dsl.retrieval import Index, Reranker, Store
from frontend_dsl.sampling import Sampling
from frontend_dsl.tools import tool
from frontend_dsl.tracer import tracing
from frontend_dsl.where import user_frame

EXPAND = (
    "Write {n} short search queries, each in other words, that find passages which answer the "
    "question."
)


def expand_queries(
    llm: LLM,
    question: str,
    n: int = 3,
    *,
    include_original: bool = False,
    max_query_chars: int = 80,
    instructions: str | None = None,
    **sampling: Unpack[Sampling],
) -> list[str]:
    """`n` search queries for a question, each usable as soon as it is written.

    Decoding is held to exactly `n` texts of at most `max_query_chars`. With `include_original` the
    question itself comes first. `{n}` in `instructions` stands for the number.
    """
    tracer = tracing("tl.expand_queries")
    check_llm("tl.expand_queries", llm)
    check_count("tl.expand_queries", "n", n, 1)
    check_count("tl.expand_queries", "max_query_chars", max_query_chars, 1)
    check_instructions("tl.expand_queries", instructions=instructions)
    with tracer.call("expand_queries"), tracer.inside():
        head = (instructions or EXPAND).replace("{n}", str(n))
        out = _queries_type(n, max_query_chars)
        written = ask(llm, "expand", head, f"Question: {question}", out=out, **sampling)
        queries = cast(list[str], written.queries)
        return flatten([[question], queries]) if include_original else queries


def fuse(rankings: Sequence[Sequence[Doc]], *, k: int | None = None) -> list[Doc]:
    """The `k` best documents of several rankings (all without `k`), by reciprocal rank fusion.

    A document's score is the sum over the rankings that hold it of 1 / (60 + rank).
    """
    tracing("tl.fuse")
    if k is not None:
        check_count("tl.fuse", "k", k, 1)
    return _fuse(rankings, k=k)


def hybrid_search(
    index: Index | Store,
    query: str,
    *,
    k: int = 5,
    fetch: int = 20,
    where: Mapping[str, Any] | None = None,
    llm: LLM | None = None,
    n: int = 3,
    reranker: Reranker | None = None,
    instructions: str | None = None,
    **sampling: Unpack[Sampling],
) -> list[Doc]:
    """The `k` best documents by vectors and BM25 together, their rankings fused.

    Each search gives `fetch` candidates. With an `llm`, `n` more queries are searched for too,
    while the query itself is searched for at once. With a `reranker` it decides on the order of
    all candidates; else that is reciprocal rank fusion. `instructions` and sampling are those of
    `tl.expand_queries`.
    """
    tracer = tracing("tl.hybrid_search")
    _check_search(index, k, fetch, llm, instructions is not None or bool(sampling))

    def search(text: str) -> list[Doc]:
        return index.search(text, k=k if is_alone else fetch, mode="hybrid", where=where)

    is_alone = llm is None and reranker is None
    with tracer.call("hybrid_search"), tracer.inside():
        found = search(query)
        if llm is None:
            return found if reranker is None else reranker(query, found, k=k)
        queries = expand_queries(llm, query, n, instructions=instructions, **sampling)
        rankings = flatten([[found], map_(search, queries)])
        if reranker is None:
            return fuse(rankings, k=k)
        return reranker(query, flatten(rankings, unique=True), k=k)


@tool(pure=True, name="fuse")
def _fuse(rankings: Sequence[Sequence[Doc]], *, k: int | None) -> list[Doc]:
    from backends.tools.fuse import fuse as fuse_rankings

    return fuse_rankings(rankings, k)


@cache  # so that one app knows one type by one name
def _queries_type(n: int, max_chars: int) -> Any:
    from pydantic import (  # late: it would double teola's import time
        ConfigDict,
        Field,
        create_model,
    )

    text = Annotated[str, Field(max_length=max_chars)]
    texts = Annotated[list[text], Field(min_length=n, max_length=n)]
    closed = ConfigDict(extra="forbid")  # a small model would go on with fields of its own
    return create_model("Queries", __config__=closed, queries=(texts, ...))


def _check_search(index: object, k: int, fetch: int, llm: object, is_for_llm: bool) -> None:
    if not isinstance(index, (Index, Store)):
        raise TypeError(f"tl.hybrid_search needs an index or a Store first, not {index!r}")
    check_count("tl.hybrid_search", "k", k, 1)
    check_count("tl.hybrid_search", "fetch", fetch, k)
    if llm is not None:
        check_llm("tl.hybrid_search(llm=)", llm)
    elif is_for_llm:
        problem = "tl.hybrid_search got instructions or sampling but no llm=, which they are for"
        raise TraceError(problem, *user_frame())
