"""Equal items of streamed lists: the first in order stays."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.ops.flatten import _Firsts


@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=4), max_size=5),
    st.randoms(use_true_random=False),
)
def test_of_equal_items_the_first_in_order_stays_whatever_comes_first(
    lists: list[list[str]], random: Any
) -> None:
    firsts, got = _Firsts(), []
    arrivals = list(enumerate(lists))
    random.shuffle(arrivals)
    for i, part in arrivals:
        got += firsts.admit([(i,)], [part])
    got += firsts.rest()
    flat = [item for _, part in sorted(got) for item in part]
    assert flat == list(dict.fromkeys(item for part in lists for item in part))
