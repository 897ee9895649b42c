"""What another request left in a page never reaches a row, not even NaN."""

from typing import Any

import torch

TEXTS = ("ab", "a prompt of two pages and more")  # padded to one length in one call


def test_nan_in_pages_that_were_given_back_changes_no_row_of_others(tiny: Any) -> None:
    clean, spoilt = (tiny.driver(kv_tokens=128, stops=False) for _ in range(2))
    spoilt.core.kv._pages[:] = torch.nan  # as a request that failed leaves it
    found = []
    for driver in (clean, spoilt):
        ids = [driver.submit("decode", None, text, max_tokens=6, logprobs=1) for text in TEXTS]
        found.append([result.outputs[1].ids for result in driver.run(*ids)])
    assert found[0] == found[1]
