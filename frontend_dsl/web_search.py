"""Searching the web, or a local corpus in its place."""

from collections.abc import Mapping
from typing import TypedDict, Unpack

from backends.documents import Doc
from frontend_dsl.ask import check_count
from frontend_dsl.tools import Tool
from frontend_dsl.tracer import current


class SearchOptions(TypedDict, total=False):
    """How to ask a JSON search API; see `backends.tools.web_search.SearchApi`."""

    timeout_s: float
    headers: Mapping[str, str]
    params: Mapping[str, str]
    query_param: str
    results: str
    title: str
    url: str
    text: str


class WebSearch:
    """`WebSearch("corpus:folder-or-file")` searches local files by BM25, without any network.

    `WebSearch("https://host/search")` asks a JSON search API; by default one that speaks like
    SearxNG. Its options: `timeout_s`, `headers`, `params`, `query_param`, and where in the answer
    the `results` and their `title`, `url` and `text` are. Raises ConfigError for others.
    """

    def __init__(self, source: str, **options: Unpack[SearchOptions]) -> None:
        self.source = source
        from backends.tools.web_search import open_search  # late: most apps search no web

        self._engine = open_search(source, dict(options))
        self._tool = Tool(self._search, reads=True, name="web_search")

    def __repr__(self) -> str:
        return f"WebSearch({self.source!r})"

    def __call__(self, query: str, *, k: int = 5) -> list[Doc]:
        """The `k` best pages, best first; fewer if fewer are found. Works outside of an app too.

        A search changes nothing, so an optimized app may start it early or skip it; it only keeps
        its place among tools that change the world. Raises
        EngineUnavailable, EngineOverloaded, RequestRejected, EngineError; DocumentError for files.
        """
        if current() is not None:
            check_count("a WebSearch", "k", k, 1)
        return self._tool(query, k=k)

    def _search(self, query: str, *, k: int) -> list[Doc]:
        return self._engine.search(query, k)
