"""From logits to tokens: `sampler` (greedy or random: `top_k_top_p`, `random_numbers`) makes the
results of a step, with `logits_processors` (penalties, bias), `grammar` and `logprobs`.
"""
