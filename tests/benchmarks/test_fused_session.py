"""The figures of a session with KV cache fusion."""

from benchmarks.fused_session import Series, row, token_f1


def test_token_f1_counts_words_in_any_order() -> None:
    assert token_f1("The page size is 4096", "the page SIZE is 4096") == 1
    assert token_f1("a b c d", "d c x") == 4 / 7
    assert token_f1("", "a") == 0
    assert token_f1("", "") == 1


def test_a_way_is_compared_over_all_questions_but_the_first() -> None:
    series = {
        "nothing": Series([9.0, 4.0, 2.0], [9.0, 5.0, 3.0], ["a b", "c", "d"]),
        "prefix": Series([9.0, 2.0, 2.0], [9.0, 3.0, 3.0], ["a b", "c", "d"]),
        "reuse": Series([9.0, 1.0, 0.5], [9.0, 2.0, 2.0], ["a x", "c", "e"]),
    }
    found = row(series["reuse"], series)
    assert (found["ttft_s"], found["ttft_ratio"], found["ttft_ratio_to_prefix"]) == (0.75, 4, 2.67)
    assert (found["seconds"], found["seconds_ratio"]) == (2, 2)
    assert (found["same_text"], found["token_f1"]) == (0.333, 0.5)
