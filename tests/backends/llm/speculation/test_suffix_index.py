"""The longest earlier match of a text's end, the latest of equals, found without a scan."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.speculation.ngram import GRAM, LONGEST, LOOKS, SuffixIndex


def slow_find(ids: list[int]) -> int | None:
    places = [p for p in range(GRAM, len(ids)) if ids[p - GRAM : p] == ids[-GRAM:]]
    best, best_len = None, 0
    for place in places[::-1][:LOOKS]:
        same = 0
        while same < min(LONGEST, place) and ids[place - 1 - same] == ids[-1 - same]:
            same += 1
        if same > best_len:
            best, best_len = place, same
    return best


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("abcd-abc", 3),
        ("xabc1-yabc2-xabc", 4),  # the longer match, though it is older
        ("abc1-abc2-abc", 8),  # of equals the latest
        ("aaaaa", 4),
        ("abcdef", None),
        ("ab", None),
        ("", None),
    ],
)
def test_the_longest_then_the_latest_match_is_found(text: str, place: int | None) -> None:
    assert SuffixIndex().find([ord(char) for char in text]) == place


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 5))
def test_a_growing_text_is_searched_as_a_whole_one(ids: list[int], pace: int) -> None:
    index = SuffixIndex()
    for size in range(0, len(ids) + 1, pace):
        assert index.find(ids[:size]) == slow_find(ids[:size])
