"""Search engines behind `tl.WebSearch`: BM25 over local documents, or a JSON search API.

Both are plain objects with `search(query, k) -> list[Doc]`, which a thread may call.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Any, Protocol

from backends.documents import Doc
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
)
from backends.optional import optional_imports

LOCAL = "corpus:"
REMOTE = ("http://", "https://")
BUSY = (429, 503)
MAX_SHOWN_CHARS = 200  # of what a server answered


class Search(Protocol):
    """What answers queries."""

    def search(self, query: str, k: int) -> list[Doc]:
        """The `k` best documents at most, best first."""


@dataclass(frozen=True, slots=True)
class SearchApi:
    """How to ask a JSON search API, and where in its answer the results are (as SearxNG has them).

    `results` may be several keys with dots between: `web.results`.
    """

    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=lambda: {"format": "json"})  # of each query
    query_param: str = "q"
    results: str = "results"
    title: str = "title"
    url: str = "url"
    text: str = "content"


def open_search(source: str, options: Mapping[str, Any]) -> Search:
    """The search engine of a source. Raises ConfigError; reads and asks nothing yet."""
    what = f"WebSearch({source!r})"
    if source in (LOCAL, *REMOTE):
        raise ConfigError(f"{what} names no folder, file or host")
    if source.startswith(LOCAL):
        _check_options(what, options, ())
        return CorpusSearch(source.removeprefix(LOCAL))
    if source.startswith(REMOTE):
        _check_options(what, options, [one.name for one in fields(SearchApi)])
        return ApiSearch(source, SearchApi(**options))
    raise ConfigError(f"{what}: unknown scheme; known: {', '.join((LOCAL, *REMOTE))}")


def _check_options(what: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in options:
        if name not in known:
            shown = ", ".join(known) or "none"
            raise ConfigError(f"{what}: unknown option {name!r}. Known options: {shown}.")
    timeout_s = options.get("timeout_s", 1)
    if not isinstance(timeout_s, (int, float)) or timeout_s <= 0:
        raise ConfigError(f"{what}: timeout_s must be above 0, not {timeout_s!r}")


class CorpusSearch:
    """BM25 over the titles and texts of local files, which are read at the first search."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._docs: list[Doc] = []
        self._index: Any = None
        self._lock = Lock()

    def search(self, query: str, k: int) -> list[Doc]:
        from backends.store.ranking import top_k  # late, as is all that follows: numpy

        scores = self._opened().scores(query)
        found = [hit for hit in top_k(scores, k) if hit[1] > 0]
        return [_scored(self._docs[position], score) for position, score in found]

    def _opened(self) -> Any:
        with self._lock:
            if self._index is None:
                from backends.tools.load import load

                with optional_imports("documents"):
                    from backends.store.bm25 import Bm25
                self._docs = load([self._path])
                texts = [f"{doc.metadata.get('title', '')}\n{doc.text}" for doc in self._docs]
                self._index = Bm25(texts)
            return self._index


class ApiSearch:
    """GET requests to a JSON search API; every failure is an EngineError that names the host."""

    def __init__(self, url: str, api: SearchApi) -> None:
        self._url = url
        self._api = api

    def search(self, query: str, k: int) -> list[Doc]:
        results = self._results(self._ask(query))
        return [self._doc(item) for item in results[:k]]

    def _ask(self, query: str) -> Any:
        import httpx  # late: heavy

        api = self._api
        params = {**api.params, api.query_param: query}
        with told_as_ours(self._url):
            answer = httpx.get(
                self._url,
                params=params,
                headers=dict(api.headers),
                timeout=api.timeout_s,
                follow_redirects=True,
            )
            answer.raise_for_status()
        try:
            return answer.json()
        except ValueError as error:
            shown = answer.text[:MAX_SHOWN_CHARS]
            problem = f"{self._url} answered no JSON but {shown!r}; is format=json allowed there?"
            raise EngineError(problem) from error

    def _results(self, answer: Any) -> list[Mapping[str, Any]]:
        found = answer
        for key in self._api.results.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, list) and all(isinstance(item, dict) for item in found):
            return found
        raise EngineError(
            f"{self._url} answered JSON without a list of results at {self._api.results!r}; "
            "set results="
        )

    def _doc(self, item: Mapping[str, Any]) -> Doc:
        title, url, text = (
            str(item.get(name) or "") for name in (self._api.title, self._api.url, self._api.text)
        )
        score = item.get("score")
        metadata = {"title": title, "source": url}
        return Doc(text or title, url, score if isinstance(score, float) else None, metadata)


@contextmanager
def told_as_ours(url: str) -> Iterator[None]:
    """Turns what httpx raises into our errors."""
    import httpx  # late: heavy

    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        problem = f"{url} answered {status}: {error.response.text[:MAX_SHOWN_CHARS]!r}"
        raise _kind_of(status)(problem) from error
    except httpx.TimeoutException as error:
        raise EngineUnavailable(f"{url} did not answer in time; raise timeout_s=") from error
    except (httpx.TransportError, httpx.TooManyRedirects) as error:
        raise EngineUnavailable(f"{url} cannot be reached: {error}") from error
    except (httpx.InvalidURL, httpx.HTTPError) as error:
        raise EngineError(f"{url}: {error}") from error


def _kind_of(status: int) -> type[EngineError]:
    if status in BUSY:
        return EngineOverloaded
    return EngineError if status >= 500 else RequestRejected


def _scored(doc: Doc, score: float) -> Doc:
    return Doc(doc.text, doc.id, score, doc.metadata)
