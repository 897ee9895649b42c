"""What a server of apps counts."""

from prometheus_client import Counter, Histogram

from teola.serving.metrics import Metrics

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


class RunMetrics(Metrics):
    """Beside requests and tokens: the runs of each app."""

    def __init__(self) -> None:
        super().__init__()
        labels = ("app", "status")
        self._runs = Counter("teola_app_runs", "Runs that ended", labels, registry=self.registry)
        self._seconds = Histogram(
            "teola_app_run_seconds",
            "From begin to end of a run",
            ("app",),
            registry=self.registry,
            buckets=_SECONDS,
        )

    def count_run(self, app: str, status: str, seconds: float) -> None:
        self._runs.labels(app, status).inc()
        self._seconds.labels(app).observe(seconds)
