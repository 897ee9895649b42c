import pytest

from teola.viewer.formats import count, percent, seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"),
        (0.00024, "0.24 ms"),
        (0.0099999, "10.0 ms"),
        (0.0351, "35.1 ms"),
        (0.35, "350 ms"),
        (0.9996, "1.00 s"),
        (12.34, "12.3 s"),
        (125.4, "2 m 05 s"),
    ],
)
def test_seconds_have_three_digits_and_a_unit(value: float, text: str) -> None:
    assert seconds(value) == text


def test_one_thing_is_singular() -> None:
    assert count(1, "batch", "batches") == "1 batch"
    assert count(1200, "batch", "batches") == "1,200 batches"


def test_a_share_of_nothing_is_no_number() -> None:
    assert percent(0.1, 0.0) == "-"
