"""KV cache fusion: the KV of a chunk is read wherever the chunk stands in a prompt.

A chunk is prefilled once behind the prompt's prefix, by an ordinary prefill; so its KV lies in the
radix tree, under one budget, with the tiers, the tenants and the adapters of any other. A prompt
that reads it elsewhere copies it to pages of its own, keys turned to their new positions, and
computes only what its plan says (`plans`) and all that is no chunk. The copy is exact in position
and not in context: no token of it has seen the text before it. Such KV is never named in the tree.
"""
