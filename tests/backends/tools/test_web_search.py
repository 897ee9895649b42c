"""The search engines behind `tl.WebSearch`: a local corpus, and a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

import teola as tl
from backends.tools.web_search import open_search, told_as_ours
from teola.errors import (
    ConfigError,
    DocumentError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    NodeFailed,
    RequestRejected,
    TraceError,
)

PAGES = [
    {"id": "sea", "title": "Sea", "text": "The sea is blue and deep."},
    {"id": "sun", "title": "Sun", "text": "It shines yellow, and it is hot."},
    {"id": "grass", "title": "Grass", "text": "Grass grows green."},
]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(page) + "\n" for page in PAGES))
    return f"corpus:{path}"


# A local corpus


def test_a_corpus_is_searched_by_words_of_titles_and_texts(corpus: str) -> None:
    search = tl.WebSearch(corpus)
    (found,) = search("how deep is the blue sea?", k=1)
    assert (found.id.partition("#")[2], found.metadata["title"]) == ("sea", "Sea")
    assert found.score is not None
    assert found.score > 0
    assert [doc.metadata["title"] for doc in search("sun")] == ["Sun"]


def test_what_holds_none_of_the_words_is_not_found(corpus: str) -> None:
    assert tl.WebSearch(corpus)("quantum chromodynamics") == []


def test_a_corpus_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Tea\nTea is brewed.")
    (tmp_path / "b.txt").write_text("Coffee is roasted.")
    found = tl.WebSearch(f"corpus:{tmp_path}")("roasted")
    assert [doc.metadata["source"] for doc in found] == [f"{tmp_path}/b.txt"]


def test_a_missing_corpus_is_told_when_it_is_searched(tmp_path: Path) -> None:
    search = tl.WebSearch(f"corpus:{tmp_path}/nowhere")
    with pytest.raises(DocumentError, match="no file or folder"):
        search("tea")


def test_threads_may_search_at_once(corpus: str) -> None:
    search = tl.WebSearch(corpus)
    found: list[list[tl.Doc]] = []
    threads = [threading.Thread(target=lambda: found.append(search("sea"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [docs[0].metadata["title"] for docs in found] == ["Sea"] * 8


def test_in_an_app_it_is_one_pure_call(corpus: str) -> None:
    web = tl.WebSearch(corpus)

    @tl.app
    def app(question: str) -> list[tl.Doc]:
        return web(question, k=2)

    assert '%web_search = call %question 2 [engine="python", fn="web_search"' in str(app.graph())
    assert app.graph().node("web_search").attrs["pure"] is True
    assert [doc.metadata["title"] for doc in app("blue sea")] == ["Sea"]


def test_the_same_search_twice_is_done_twice_for_the_web_may_change(corpus: str) -> None:
    web = tl.WebSearch(corpus)

    @tl.app
    def app(question: str) -> list[list[tl.Doc]]:
        return [web(question), web(question)]

    assert sum(node.op == "call" for node in app.plan().after.nodes) == 2


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("pages.jsonl", {}, "unknown scheme; known: corpus:, http://, https://"),
        ("corpus:", {}, "names no folder, file or host"),
        ("https://", {}, "names no folder, file or host"),
        ("corpus:x", {"timeout_s": 3}, "unknown option 'timeout_s'. Known options: none"),
        ("http://x", {"speed": 3}, "unknown option 'speed'. Known options: timeout_s, headers"),
        ("http://x", {"timeout_s": 0}, "timeout_s must be above 0"),
    ],
)
def test_a_wrong_setting_is_told_at_once(
    source: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tl.WebSearch(source, **options)


def test_k_must_be_known_and_positive(corpus: str) -> None:
    web = tl.WebSearch(corpus)

    @tl.app
    def app(question: str) -> list[tl.Doc]:
        return web(question, k=0)

    with pytest.raises(TraceError, match="a WebSearch needs k >= 1"):
        app.graph()


# A JSON search API


class Answers(BaseHTTPRequestHandler):
    """Answers by path; `/search` like SearxNG. Remembers what it was asked."""

    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]]
    status = 200
    body: bytes
    may_answer: threading.Event

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.asked.append((parts.path, parse_qs(parts.query), dict(self.headers)))
        if parts.path == "/slow":
            self.may_answer.wait(30)
            return
        if parts.path == "/again":
            self.send_response(302)
            self.send_header("Location", "/again")
            self.end_headers()
            return
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *words: object) -> None:
        """Stays silent."""


RESULTS = [
    {"title": "Sea", "url": "http://sea", "content": "The sea is blue.", "score": 2.5},
    {"title": "Only a title", "url": "http://title", "content": None},
    {"title": "Third", "url": "http://third", "content": "3"},
]


@contextmanager
def serving(answer: Any, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    parts = {"asked": asked, "status": status, "body": body, "may_answer": threading.Event()}
    handler = type("Handler", (Answers,), parts)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        parts["may_answer"].set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_api_is_asked_for_json_and_its_results_become_documents() -> None:
    with serving({"results": RESULTS}) as (url, asked):
        web = tl.WebSearch(f"{url}/search", headers={"X-Key": "k"})
        found = web("blue & deep?", k=2)
    assert found == [
        tl.Doc("The sea is blue.", "http://sea", 2.5, {"title": "Sea", "source": "http://sea"}),
        tl.Doc(
            "Only a title",
            "http://title",
            None,
            {"title": "Only a title", "source": "http://title"},
        ),
    ]
    ((path, query, headers),) = asked
    assert (path, query) == ("/search", {"format": ["json"], "q": ["blue & deep?"]})
    assert headers["X-Key"] == "k"


def test_the_names_of_another_apis_fields_can_be_given() -> None:
    answer = {"web": {"hits": [{"name": "Sea", "link": "u", "snippet": "blue"}]}}
    with serving(answer) as (url, asked):
        web = tl.WebSearch(
            url,
            query_param="query",
            params={"count": "5"},
            results="web.hits",
            title="name",
            url="link",
            text="snippet",
        )
        (found,) = web("sea")
    assert (found.text, found.id, found.metadata["title"]) == ("blue", "u", "Sea")
    assert asked[0][1] == {"count": ["5"], "query": ["sea"]}


def test_no_results_are_an_empty_list() -> None:
    with serving({"results": []}) as (url, _):
        assert tl.WebSearch(url)("sea") == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, EngineOverloaded),
        (503, EngineOverloaded),
        (400, RequestRejected),
        (403, RequestRejected),
        (500, EngineError),
    ],
)
def test_a_bad_status_is_a_typed_error_that_shows_the_answer(
    status: int, kind: type[EngineError]
) -> None:
    with (
        serving(b"go away", status) as (url, _),
        pytest.raises(kind, match=f"{status}: 'go away'") as caught,
    ):
        tl.WebSearch(url)("sea")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "answered no JSON but '<html>'"),
        ({"answers": []}, "without a list of results at 'results'"),
        ([1, 2], "without a list of results"),
        ({"results": ["text"]}, "without a list of results"),
    ],
)
def test_an_answer_that_is_not_understood_is_an_engine_error(body: Any, message: str) -> None:
    with serving(body) as (url, _), pytest.raises(EngineError, match=message):
        tl.WebSearch(url)("sea")


def test_a_slow_server_is_unavailable_after_the_timeout() -> None:
    with (
        serving({"results": []}) as (url, _),
        pytest.raises(EngineUnavailable, match="raise timeout_s="),
    ):
        tl.WebSearch(f"{url}/slow", timeout_s=0.1)("sea")


def test_endless_redirects_end() -> None:
    with serving({}) as (url, _), pytest.raises(EngineUnavailable, match="cannot be reached"):
        tl.WebSearch(f"{url}/again")("sea")


def test_a_server_that_is_not_there_is_unavailable_and_the_app_names_the_call() -> None:
    with serving({}) as (url, _):
        pass
    web = tl.WebSearch(url)

    @tl.app
    def app(question: str) -> list[tl.Doc]:
        return web(question)

    with pytest.raises(NodeFailed, match=r"web_search .*test_web_search\.py.*cannot be reached"):
        app("sea")


def leaves(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from leaves(inner)


@pytest.mark.parametrize(
    "kind", [*(k for k in leaves(httpx.HTTPError) if k.__module__ == "httpx"), httpx.InvalidURL]
)
def test_whatever_httpx_raises_becomes_ours(kind: type[Exception]) -> None:
    request = httpx.Request("GET", "http://x")
    error = (
        kind("no", request=request, response=httpx.Response(500, request=request))
        if kind is httpx.HTTPStatusError
        else kind("no")
    )
    with pytest.raises(EngineError, match="http://x"), told_as_ours("http://x"):
        raise error


def test_a_search_opens_nothing_before_it_is_asked() -> None:
    unreachable = open_search("http://127.0.0.1:1/search", {})
    missing = open_search("corpus:/nowhere", {})
    for search in (unreachable, missing):
        with pytest.raises(EngineError):
            search.search("owls", 3)
