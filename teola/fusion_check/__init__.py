"""How much of a model's answers each plan of KV cache fusion keeps, measured on bundled questions.

An exact prompt writes 16 tokens; the fused one reads the same 16. Their next-token distributions
differ by a mean KL divergence. A plan's recovered fraction is R = 1 - KL / KL("reuse").
"""
