"""One server that is asked again and again: its runs, if it serves apps, and its metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx

from backends.remote.dialects.prometheus import MetricsPage
from teola.top.views import Load, RunView, ServerView, Work

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class _Counts:
    at_s: float
    tokens: float
    prompt_tokens: float


class _Problem(Exception):
    """Why a server cannot be shown, in a few words."""


class Server:
    """Used on one thread at a time. A server that is away may come back."""

    def __init__(
        self, url: str, api_key: str | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.url = root_of(url)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)
        self._clock = clock
        self._last: _Counts | None = None
        self._run_tokens: Mapping[str, int] = {}  # by id, when it was last asked

    def look(self) -> ServerView:
        """What it does now. Never raises."""
        try:
            runs = self._runs()
            page = self._metrics()
            if runs is not None:
                return ServerView(self.url, "apps", load=self._load_of(runs, page), runs=runs)
            return ServerView(self.url, "engine", load=self._load(page))
        except (_Problem, httpx.HTTPError) as error:
            self._last = None
            return ServerView(self.url, problem=_said(error))

    def close(self) -> None:
        self._http.close()

    def _runs(self) -> tuple[RunView, ...] | None:
        answer = self._http.get("/v1/runs")
        if answer.status_code == 404:
            return None
        _check(answer)
        try:
            return tuple(_run(each) for each in answer.json()["data"])
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
        """Of engines."""
        prompt, decoded = (
            _total(page, "prefilled_tokens_total"),
            _total(page, "decoded_tokens_total"),
        )
        rates = self._rates(_Counts(self._clock(), decoded, prompt))
        return Load(
            int(_total(page, "num_requests_running")),
            int(_total(page, "num_requests_waiting")),
            *rates,
            _hit_rate(page),
            _kv_use(page),
        )

    def _load_of(self, runs: tuple[RunView, ...], page: MetricsPage) -> Load:
        """Of apps: its metrics count the tokens of runs that ended, so rates are those of runs."""
        tokens = {run.id: run.tokens for run in runs}
        new = sum(max(0, n - self._run_tokens.get(run, 0)) for run, n in tokens.items())
        self._run_tokens = tokens
        now_s, last = self._clock(), self._last
        self._last = _Counts(now_s, 0.0, 0.0)
        return Load(
            sum(run.num_running for run in runs),
            sum(sum(run.waiting.values()) for run in runs),
            new / (now_s - last.at_s) if last is not None and now_s > last.at_s else None,
            hit_rate=_hit_rate(page),
        )

    def _rates(self, now: _Counts) -> tuple[float | None, float | None]:
        last, self._last = self._last, now
        if last is None or now.at_s <= last.at_s or now.tokens < last.tokens:  # it began anew
            return None, None
        passed_s = now.at_s - last.at_s
        tokens, prompt = now.tokens - last.tokens, now.prompt_tokens - last.prompt_tokens
        return tokens / passed_s, max(0.0, prompt) / passed_s


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
