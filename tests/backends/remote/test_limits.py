"""What headers say of rate limits and of when to come again."""

import pytest

from backends.rate_limits import Allowance, RateReport
from backends.remote.limits import read_rates, read_retry_after

NOON_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_the_headers_of_openai_are_read() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s",
    }

    assert read_rates(headers) == RateReport(
        Allowance(60.0, 59.0, 1.0), Allowance(150_000.0, 149_984.0, 360.0)
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1h2m3.5s", 3723.5), ("7", 7.0), ("7.66s", 7.66), ("soon", None), ("", None)],
)
def test_durations_are_read_in_all_their_forms(text: str, seconds: float | None) -> None:
    report = read_rates({"x-ratelimit-reset-tokens": text})

    assert (report.tokens.reset_s if report else None) == seconds


@pytest.mark.parametrize("headers", [{}, {"x-ratelimit-limit-requests": "many"}])
def test_headers_that_say_nothing_are_no_report(headers: dict[str, str]) -> None:
    assert read_rates(headers) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, NOON_S) == seconds
