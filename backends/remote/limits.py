"""What a server says of its rate limits in an answer's headers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The x-ratelimit-* headers of one answer; None where a server does not say."""

    limit_requests: int | None = None
    limit_tokens: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float | None = None  # until the whole limit is there again
    reset_tokens_s: float | None = None


def read_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """None if the headers say nothing of limits."""
    found = RateLimits(
        *(_count(headers.get(f"x-ratelimit-limit-{of}")) for of in ("requests", "tokens")),
        *(_count(headers.get(f"x-ratelimit-remaining-{of}")) for of in ("requests", "tokens")),
        *(_duration_s(headers.get(f"x-ratelimit-reset-{of}")) for of in ("requests", "tokens")),
    )
    return None if found == RateLimits() else found


def read_retry_after(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds from `now_s` (since 1970), of Retry-After-Ms or Retry-After; None: neither helps."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def _count(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,15}(\.\d{1,9})?\s*", text):
        return None
    return float(text)


def _duration_s(text: str | None) -> float | None:
    """Of "1s", "6m0s", "20ms" or plain seconds."""
    if text is None or (number := _number(text)) is not None:
        return None if text is None else number
    pieces = _PIECE.findall(text)
    if "".join(value + unit for value, unit in pieces) != text.strip() or not pieces:
        return None
    return sum(float(value) * _UNIT_S[unit] for value, unit in pieces)
