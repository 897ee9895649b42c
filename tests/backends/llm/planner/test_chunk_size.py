"""The size of a chunk beside decodes, against schedules written out step by step."""

from hypothesis import given
from hypothesis import strategies as st

from backends.llm.planner.chunk_size import LEAST, chunk_of_least_delay


def step_s(num_tokens: int) -> float:
    return 1.0 + num_tokens / 64


def ends_of(size: int, prompts: list[tuple[str, int]], decodes: dict[str, int]) -> float:
    """The sum of the times at which the queries' parts end, one step after another."""
    tokens = [query for query, num in prompts for _ in range(num)]
    left, ended, now_s = dict(decodes), {}, 0.0
    while tokens or left:
        chunk, tokens = tokens[:size], tokens[size:]
        now_s += step_s(size if chunk else 0)
        ended |= dict.fromkeys(chunk, now_s)
        for query in list(left):
            left[query] -= 1
            if not left[query]:
                del left[query]
                ended.setdefault(query, now_s)
    return sum(ended.values())


PROMPTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200)), min_size=1, max_size=4)
DECODES = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 60), min_size=1)


@given(PROMPTS, DECODES, st.integers(LEAST + 1, 300))
def test_no_size_that_is_tried_delays_queries_less(
    prompts: list[tuple[str, int]], decodes: dict[str, int], most: int
) -> None:
    size = chunk_of_least_delay(prompts, decodes, step_s, most)
    assert 1 <= size <= most
    largest = min(most, sum(num for _, num in prompts)) or most
    tried = [largest >> i for i in range(8) if largest >> i >= LEAST] or [largest]
    least = min(ends_of(each, prompts, decodes) for each in tried)
    assert ends_of(size, prompts, decodes) <= least + 1e-6


def test_decodes_that_soon_end_leave_before_a_long_prompt_and_others_do_not_hold_it_up() -> None:
    assert chunk_of_least_delay([("a", 512)], {"x": 4, "y": 4}, step_s, 512) <= 64
    assert chunk_of_least_delay([("a", 512)], {"x": 200, "y": 200}, step_s, 512) == 512


def test_a_query_whose_prompt_is_still_computed_gains_nothing_by_its_decodes() -> None:
    assert chunk_of_least_delay([("x", 512)], {"x": 4}, step_s, 512) == 512


def test_without_prompts_or_decodes_all_tokens_are_free() -> None:
    assert chunk_of_least_delay([], {"x": 4}, step_s, 512) == 512
    assert chunk_of_least_delay([("a", 512)], {}, step_s, 100) == 100
    assert chunk_of_least_delay([("a", 0)], {"x": 4}, step_s, 512) == 512
