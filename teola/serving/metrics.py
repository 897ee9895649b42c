"""What the server counts, in Prometheus' text format at `/metrics`."""

from collections.abc import Iterable
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from backends.base import Result, Usage

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_TTFT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_ITL_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_E2E_S = (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)


class Metrics:
    """A registry of its own, so that several servers may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests", ("path", "status"))
        self._aborted = self._counter("requests_aborted", "HTTP requests whose client went away")
        self._closed = self._counter("connections_closed", "By the server, and why", ("reason",))
        self.waiting = self._gauge("num_requests_waiting", "Answers without a token yet")
        self.running = self._gauge("num_requests_running", "Answers that are being written")
        self._prefilled = self._counter("prefilled_tokens", "Prompt tokens computed")
        self._cached = self._counter("cached_tokens", "Prompt tokens taken from the KV cache")
        self._fused = self._counter("fused_tokens", "Prompt tokens of KV from another place")
        self._encoded = self._counter("encoded_chunks", "Chunks prefilled for fused prompts")
        self._decoded = self._counter("decoded_tokens", "Tokens generated")
        self.ttft = self._histogram("time_to_first_token", "From request to first text", _TTFT_S)
        self.itl = self._histogram("inter_token_latency", "Between two pieces of text", _ITL_S)
        self.e2e = self._histogram("e2e_request_latency", "From request to whole answer", _E2E_S)

    def count_request(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def count_closed(self, reason: str) -> None:
        """A connection that the server ended before its client did."""
        self._closed.labels(reason).inc()

    def count_abort(self) -> None:
        self._aborted.inc()

    def count(self, result: Result) -> None:
        """The tokens of a prefill, a decode or a select."""
        self.count_usage(result.usage)
        self._encoded.inc(0 if result.fusion is None else result.fusion.num_encoded)

    def count_usage(self, usage: Usage) -> None:
        """The tokens of a request, whether it came to its end or was aborted."""
        self._prefilled.inc(usage.prefill_tokens)
        self._cached.inc(usage.cached_tokens)
        self._fused.inc(usage.fused_tokens)
        self._decoded.inc(usage.decode_tokens + usage.forced_tokens)

    def count_encoded(self, result: Result) -> None:
        """An encode: its tokens, and the chunks that it says were not there."""
        self.count(result)
        self._encoded.inc(result.outputs[0])

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"teola_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"teola_{name}", about, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"teola_{name}_seconds", about, registry=self.registry, buckets=buckets)


class AnswerMeter:
    """The times of one answer: it waits, its first piece comes, more come, it ends."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._began_s = perf_counter()
        self._last_s: float | None = None
        self._is_over = False
        metrics.waiting.inc()

    def piece(self) -> None:
        if self._is_over:  # was on its way when the answer was aborted
            return
        now_s = perf_counter()
        if self._last_s is None:
            self._metrics.ttft.observe(now_s - self._began_s)
            self._metrics.waiting.dec()
            self._metrics.running.inc()
        else:
            self._metrics.itl.observe(now_s - self._last_s)
        self._last_s = now_s

    def end(self, is_whole: bool) -> None:
        """Once, whether the answer came to its end or not."""
        self._is_over = True
        (self._metrics.waiting if self._last_s is None else self._metrics.running).dec()
        if is_whole:
            self._metrics.e2e.observe(perf_counter() - self._began_s)
