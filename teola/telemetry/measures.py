"""The GenAI metrics of clients: how long operations took, and how many tokens they used."""

from opentelemetry.metrics import Meter

from teola.telemetry.shape import Attributes

_SECONDS = tuple(0.01 * 2**n for n in range(14))
_TOKENS = tuple(4**n for n in range(14))
_LABELS = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "error.type")


class Measures:
    """With the buckets that the convention advises."""

    def __init__(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def note(self, kind: str, about: Attributes, seconds: float) -> None:
        """One operation of an engine of a kind, with the attributes of its span."""
        if kind not in ("llm", "embedder"):
            return
        labels = {name: about[name] for name in _LABELS if name in about}
        self._duration.record(seconds, labels)
        for token_type in ("input", "output"):
            count = about.get(f"gen_ai.usage.{token_type}_tokens")
            if isinstance(count, int) and count:
                self._tokens.record(count, {**labels, "gen_ai.token.type": token_type})
