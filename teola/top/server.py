"""One server that is asked again and again: its runs, if it serves apps, and its metrics."""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import httpx

from backends.remote.dialects.prometheus import MetricsPage
from backends.url_secrets import without_url_secrets
from teola.top.views import Load, RunView, ServerView, Work

TIMEOUT_S = 2.0
_MOST = 1000  # runs of a page


class _Problem(Exception):
    """Why a server cannot be shown, in a few words."""


class Server:
    """Used on one thread at a time. A server that is away may come back."""

    def __init__(
        self, url: str, api_key: str | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.url = root_of(url)
        self.shown_url = without_url_secrets(self.url)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)
        self._clock = clock
        self._looked_s: float | None = None  # when it was last asked
        self._pieces = 0.0  # then, of all answers
        self._run_tokens: Mapping[str, int] = {}  # then, by run

    def look(self) -> ServerView:
        """What it does now. Never raises."""
        try:
            runs = self._runs()
            page = self._metrics()
            if runs is not None:
                return ServerView(self.shown_url, "apps", load=self._load_of(runs, page), runs=runs)
            return ServerView(self.shown_url, "engine", load=self._load(page))
        except (_Problem, httpx.HTTPError) as error:
            self._looked_s = None
            return ServerView(self.shown_url, problem=without_url_secrets(_said(error)))

    def close(self) -> None:
        self._http.close()

    def _runs(self) -> tuple[RunView, ...] | None:
        """The newest that have not ended; where there are more, all that run too."""
        answer = self._http.get("/v1/runs", params={"limit": _MOST})
        if answer.status_code == 404:
            return None
        _check(answer)
        try:
            body = answer.json()
            runs = body["data"]
            if body.get("next"):
                running = self._http.get("/v1/runs", params={"limit": _MOST, "state": "running"})
                _check(running)
                seen = {each["id"] for each in runs}
                runs += [each for each in running.json()["data"] if each["id"] not in seen]
            return tuple(_run(each) for each in runs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Problem("it is no server of teola, or one of another version") from error

    def _metrics(self) -> MetricsPage:
        answer = self._http.get("/metrics")
        if answer.status_code == 404:
            raise _Problem("it is no server of teola")
        _check(answer)
        try:
            page = MetricsPage(answer.text)
        except ValueError as error:
            raise _Problem("its /metrics cannot be read") from error
        if page.total("teola_decoded_tokens_total") is None:
            raise _Problem("it is no server of teola")
        return page

    def _load(self, page: MetricsPage) -> Load:
        """Of engines. Their counters of tokens are those of answers that ended, so the rate is
        that of the pieces of text."""
        latencies = ("time_to_first_token", "inter_token_latency")
        pieces = sum(_total(page, f"{name}_seconds_count") for name in latencies)
        new, self._pieces = pieces - self._pieces, pieces
        return Load(
            int(_total(page, "num_requests_running")),
            int(_total(page, "num_requests_waiting")),
            self._rate(new),
            _hit_rate(page),
            _kv_use(page),
        )

    def _load_of(self, runs: tuple[RunView, ...], page: MetricsPage) -> Load:
        """Of apps."""
        tokens = {run.id: run.tokens for run in runs}
        new = sum(max(0, n - self._run_tokens.get(run, 0)) for run, n in tokens.items())
        self._run_tokens = tokens
        return Load(
            sum(run.num_running for run in runs),
            sum(sum(run.waiting.values()) for run in runs),
            self._rate(new),
            _hit_rate(page),
            _kv_use(page),
        )

    def _rate(self, new: float) -> float | None:
        before, self._looked_s = self._looked_s, self._clock()
        if before is None or self._looked_s <= before or new < 0:  # a server that began anew
            return None
        return new / (self._looked_s - before)


def root_of(url: str) -> str:
    """`8000`, `localhost:8000` and `http://localhost:8000/v1` are one. Raises ValueError."""
    whole = f"127.0.0.1:{url}" if url.isdecimal() else url
    whole = whole if "://" in whole else f"http://{whole}"
    root = whole.rstrip("/").removesuffix("/v1")
    try:
        parsed = httpx.URL(root)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL of a server: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no URL of a server, like http://127.0.0.1:8000")
    return root


def _check(answer: httpx.Response) -> None:
    if answer.status_code in (401, 403):
        raise _Problem("it wants another key: --api-key, or TEOLA_API_KEY")
    if not answer.is_success:
        raise _Problem(f"it answers {answer.status_code} to {answer.url.path}")


def _said(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, httpx.ConnectError):
        return "not answering"
    return str(error) or type(error).__name__


def _run(body: Mapping[str, Any]) -> RunView:
    progress, usage = body["progress"], body["usage"]
    return RunView(
        id=str(body["id"]),
        app=str(body["app"]),
        age_s=float(body["seconds"]),
        done=int(progress["done"]),
        total=int(progress["total"]),
        failed=int(progress["failed"]),
        prompt_tokens=int(usage["prompt_tokens"]),
        cached_tokens=int(usage["prompt_tokens_details"]["cached_tokens"]),
        tokens=int(usage["completion_tokens"]) + int(progress["text_pieces"]),
        running=tuple(_work(each) for each in progress["running"]),
        num_running=int(progress["num_running"]),
        waiting={str(name): int(number) for name, number in progress["waiting"].items()},
    )


def _work(body: Mapping[str, Any]) -> Work:
    node, op, engine = (str(body[name]) for name in ("node", "op", "engine"))
    return Work(node, op, engine, float(body["seconds"]))


def _total(page: MetricsPage, name: str) -> float:
    return page.total(f"teola_{name}") or 0.0


def _hit_rate(page: MetricsPage) -> float | None:
    hits = _total(page, "cached_tokens_total") + _total(page, "fused_tokens_total")
    whole = hits + _total(page, "prefilled_tokens_total")
    return hits / whole if whole else None


def _kv_use(page: MetricsPage) -> float | None:
    pages = _total(page, "kv_num_pages")
    return 1 - _total(page, "kv_free_pages") / pages if pages else None
