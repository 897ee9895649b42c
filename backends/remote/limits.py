"""What a server says of its rate limits in an answer's headers."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from backends.rate_limits import Allowance, RateReport

_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_rates(headers: Mapping[str, str]) -> RateReport | None:
    """The x-ratelimit-* headers; None if there are none that mean something."""
    report = RateReport(_allowance(headers, "requests"), _allowance(headers, "tokens"))
    return None if report == RateReport() else report


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


def _allowance(headers: Mapping[str, str], of: str) -> Allowance:
    return Allowance(
        _number(headers.get(f"x-ratelimit-limit-{of}")),
        _number(headers.get(f"x-ratelimit-remaining-{of}")),
        _duration_s(headers.get(f"x-ratelimit-reset-{of}")),
    )


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,15}(\.\d{1,9})?\s*", text):
        return None
    return float(text)


def _duration_s(text: str | None) -> float | None:
    """Of "1s", "6m0s", "20ms" or plain seconds."""
    number = _number(text)
    if number is not None or text is None:
        return number
    pieces = _PIECE.findall(text)
    if "".join(value + unit for value, unit in pieces) != text.strip() or not pieces:
        return None
    return sum(float(value) * _UNIT_S[unit] for value, unit in pieces)
