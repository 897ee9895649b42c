"""Whether and where spans go: what the option `otel` of an app may be."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.errors import ConfigError

CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON = ("true", "span_only", "span_and_event")


@dataclass(frozen=True, slots=True)
class Otel:
    """Where the spans of an app's queries go, and what they hold.

    `to` is the URL of an OTLP receiver (`http://localhost:4318`), "env" for the one that
    OTEL_EXPORTER_OTLP_ENDPOINT names, a TracerProvider, or None for that of the process. Prompts,
    answers, arguments and error messages are in spans only with `content`; None asks the
    environment's OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT.
    """

    to: Any = None
    content: bool | None = None
    headers: Mapping[str, str] | None = None  # of an incoming request, with its traceparent

    def __post_init__(self) -> None:
        if isinstance(self.to, str) and self.to != "env":
            check_receiver(self.to)

    @property
    def has_content(self) -> bool:
        """Whether spans hold what prompts and answers say."""
        if self.content is not None:
            return self.content
        return os.environ.get(CONTENT_VARIABLE, "").strip().lower() in _ON


def otel_of(option: Any) -> Otel | None:
    """What an option `otel=` means. Raises ConfigError."""
    if option is None or option is False:
        return None
    if isinstance(option, Otel):
        return option
    if option is True:
        return Otel()
    if isinstance(option, str):
        return Otel(option)
    raise ConfigError(f"otel= is True, the URL of an OTLP receiver or a tl.Otel, not {option!r}")


def check_receiver(url: str) -> None:
    """Raises ConfigError."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"{url!r} is no OTLP receiver; write its URL, like http://localhost:4318, or env"
        )
