"""From logits to tokens: `results` of a step, by `sampler` (greedy or random: `top_k_top_p`,
`random_numbers`), `logits_processors` (penalties, bias), `grammar` and `logprobs`.
"""
